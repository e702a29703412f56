"""Fixtures for all tests: a synthetic call, small bundles, small corpora."""

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_batch.audio.opening import open_audio
from ser_batch.engine.this_process import ThisProcess
from ser_batch.speech.loading import load_vad
from tests.support.bundles import write_profiled_bundle, write_tiny_bundle
from tests.support.corpora import write_corpora
from tests.support.paths import DATA, EXAMPLES
from tests.support.recordings import settle

torch.set_num_threads(1)
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for the hub

MEMORY_DISK, ROOM_GIB = Path("/dev/shm"), 4
"""Tests sync files thousands of times: in memory, that costs nothing."""
if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > ROOM_GIB * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


def pytest_collection_modifyitems(items):
    if not DATA.is_dir():
        skip = pytest.mark.skip(reason=f"the corpora are not here: {DATA}")
        for item in items:
            if "corpus" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def data() -> Path:
    """The corpora and calls; only for tests that are marked `corpus`."""
    return DATA


@pytest.fixture(scope="session")
def call() -> np.ndarray:
    """A synthetic stereo call at 8 kHz, (2, samples): the agent speaks on 0, the customer on 1."""
    with open_audio(EXAMPLES / "billing" / "1001.wav") as audio:
        return np.concatenate(list(audio), axis=1)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Commit without the pause for plain readers, except where they are tested."""
    monkeypatch.setattr("ser_batch.results.generations.AHEAD_S", 0.0)


@pytest.fixture(autouse=True)
def _decoding_here(request, monkeypatch):
    """Decode in this process; tests marked `processes` decode in processes of a run."""
    if "processes" not in request.keywords:
        monkeypatch.setattr("ser_batch.pipeline._processes", lambda *_: ThisProcess())
        monkeypatch.setattr("ser_batch.engine.this_process.load_vad", _load_vad)


_load_vad = cache(load_vad)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A bundle of a small network with random weights: quick, and as good as any where only the way counts."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def profiled_bundle(tmp_path_factory) -> Path:
    """A small random bundle that takes the profile of a place."""
    return write_profiled_bundle(tmp_path_factory.mktemp("bundles") / "tiny-profiled")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """A few clips of each published corpus, in its publisher's layout."""
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def calls(tmp_path) -> Path:
    """A fresh copy of the example calls, old enough not to look as if they were still being written."""
    folder = tmp_path / "calls"
    shutil.copytree(EXAMPLES, folder)
    return settle(folder)

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
from tests.support.pages import CHROMIUM
from tests.support.paths import DATA, EXAMPLES
from tests.support.recordings import backdate

torch.set_num_threads(1)
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for the hub

MEMORY_DISK, ROOM_GIB = Path("/dev/shm"), 4
"""Tests sync files thousands of times: in memory, that costs nothing."""
if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > ROOM_GIB * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


def pytest_collection_modifyitems(items):
    missing = {}
    if not DATA.is_dir():
        missing["corpus"] = f"the corpora are not here: {DATA}"
    if not torch.cuda.is_available():
        missing["cuda"] = "no CUDA device"
    for item in items:
        for marker in missing.keys() & item.keywords.keys():
            item.add_marker(pytest.mark.skip(reason=missing[marker]))


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of corpora and calls, only for tests marked `corpus`."""
    return DATA


@pytest.fixture(scope="session")
def call() -> np.ndarray:
    """Return a synthetic stereo call at 8 kHz.

    The agent is on channel 0, the customer on channel 1.

    Shape:
        (2, samples).
    """
    with open_audio(EXAMPLES / "billing" / "1001.wav") as audio:
        return np.concatenate(list(audio), axis=1)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Commit without the pause for plain readers, except in tests of that pause."""
    monkeypatch.setattr("ser_batch.results.generations.AHEAD_S", 0.0)


@pytest.fixture(autouse=True)
def _decoding_here(request, monkeypatch):
    """Decode in this process, except in tests marked `processes`."""
    if "processes" not in request.keywords:
        monkeypatch.setattr("ser_batch.pipeline._processes", lambda *_: ThisProcess())
        monkeypatch.setattr("ser_batch.engine.this_process.load_vad", _load_vad)


_load_vad = cache(load_vad)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """Write a bundle of a small random network, for tests that do not need accuracy."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def profiled_bundle(tmp_path_factory) -> Path:
    """Write a small random bundle that uses the profile of a place."""
    return write_profiled_bundle(tmp_path_factory.mktemp("bundles") / "tiny-profiled")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """Write a few clips of each published corpus, in the publisher's layout."""
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def calls(tmp_path) -> Path:
    """Return a fresh copy of the example calls, dated so that they look complete."""
    folder = tmp_path / "calls"
    shutil.copytree(EXAMPLES, folder)
    return backdate(folder)


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()

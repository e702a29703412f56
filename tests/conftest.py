"""What the tests share: paths, synthetic speech with known truth, a tiny bundle, a results reader."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser_batch.audio.opening import open_audio
from tests.bundle_fixture import write_profiled_bundle, write_tiny_bundle
from tests.corpora_fixture import write_corpora
from tests.tables import read_table

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "calls"
DATA = ROOT.parent / "shared" / "data"

torch.set_num_threads(1)


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
    """What waits for plain readers waits for nobody, except where they are tested."""
    monkeypatch.setattr("ser_batch.results.generations.AHEAD_S", 0.0)


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


def settle(folder: Path) -> Path:
    """Dates everything under a folder a minute back."""
    then = time.time() - 60
    for path in [folder, *folder.rglob("*")]:
        if path.exists() and not path.is_symlink():
            os.utime(path, (then, then))
    return folder


def write_call(path: Path, waveform: np.ndarray, subtype: str = "PCM_16") -> Path:
    """Writes (channels, samples) at 8 kHz, dated a minute back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), waveform.T, 8000, format="WAV", subtype=subtype)
    os.utime(path, (time.time() - 60,) * 2)
    return path


def ser(*args: object, **kwargs: object) -> subprocess.CompletedProcess:
    """Runs the command as a user does, in a process of its own."""
    command = [sys.executable, "-m", "ser_batch", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", timeout=240, **kwargs)  # type: ignore[call-overload]


def tables(directory: Path) -> dict[str, list[dict]]:
    """All rows, but for the time of analysis, in an order of their own; floats to three digits."""
    result = {}
    for name in ("recordings", "speech", "segments"):
        rows = read_table(directory, name).to_pylist()
        for row in rows:
            row.pop("analyzed_at", None)
            for key, value in row.items():
                if isinstance(value, float):
                    row[key] = round(value, 3)
        result[name] = sorted(rows, key=lambda row: str([row["recording_id"], row.get("start_s"), row.get("channel")]))
    return result

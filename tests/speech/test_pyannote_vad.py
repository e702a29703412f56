"""pyannote.audio as the VAD, with a tiny network made here, and refused checkpoints."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_batch.config.options import Config, VadConfig
from ser_batch.errors import UsageError
from ser_batch.pipeline import run
from ser_batch.speech.loading import load_vad
from ser_batch.speech.vad import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE, Vad
from tests.support.commands import ser
from tests.support.tables import tables


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Save a tiny PyanNet in the format of pyannote.audio."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    # The package turns telemetry off before it imports the library.
    import ser_batch.speech.pyannote  # noqa: F401
    from pyannote.audio import __version__
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(4)
    network = PyanNet(
        lstm={"hidden_size": 8, "num_layers": 1},
        linear={"hidden_size": 8, "num_layers": 1},
    )
    network.specifications = Specifications(
        problem=Problem.BINARY_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        classes=["speech"],
    )
    network.build()
    with torch.no_grad():
        # Loud frames count as speech: the first layers respond to energy, and the last
        # one is scaled to separate its levels.
        network.classifier.weight.mul_(40)
    saved = {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.0.0",
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": __version__},
            "architecture": {
                "module": "pyannote.audio.models.segmentation.PyanNet",
                "class": "PyanNet",
            },
            "specifications": network.specifications,
        },
    }
    path = tmp_path_factory.mktemp("pyannote") / "pytorch_model.bin"
    torch.save(saved, path)
    return path


def bursts(minutes: float) -> np.ndarray:
    """Return bursts of noise at 16 kHz."""
    rng = np.random.default_rng(0)
    n = int(minutes * 60 * SAMPLE_RATE)
    loud = np.repeat(rng.random(n // 8000 + 1) < 0.5, 8000)[:n]
    return (rng.normal(0, 0.1, n) * np.where(loud, 1, 0.001)).astype(np.float32)


def load(checkpoint: Path) -> Vad:
    return load_vad(
        VadConfig(
            engine="pyannote", model=str(checkpoint), min_silence_s=0, min_speech_s=0
        )
    )


def one_pass(vad: Vad, samples: np.ndarray) -> np.ndarray:
    """Return the pipeline's speech decision for each frame of a whole recording."""
    speech = vad._pipeline(
        {
            "waveform": torch.from_numpy(samples)[None],
            "sample_rate": SAMPLE_RATE,
            "uri": "x",
        }
    )
    frames = np.zeros(-(-len(samples) // FRAME_SAMPLES))
    centres = (np.arange(len(frames)) + 0.5) * FRAME_S
    for region in speech.get_timeline().support():
        frames[(region.start <= centres) & (centres < region.end)] = 1
    return frames


def test_a_short_recording_matches_the_pipeline(checkpoint):
    vad, samples = load(checkpoint), bursts(0.5)
    stream = vad.stream()
    frames = np.concatenate(
        [
            stream.push(samples[:100_000]),
            stream.push(samples[100_000:]),
            stream.finish(),
        ]
    )
    np.testing.assert_array_equal(frames, one_pass(vad, samples))
    assert 0 < frames.mean() < 1


@pytest.mark.slow
def test_windows_match_a_single_pass_with_bounded_memory(checkpoint, monkeypatch):
    import ser_batch.speech.pyannote as module

    # Short windows, so that the recording has several.
    monkeypatch.setattr(module, "WINDOW_FRAMES", module.CONTEXT_FRAMES)
    vad, samples = load(checkpoint), bursts(3.7)
    stream, frames, held = vad.stream(), [], []
    for start in range(0, len(samples), 15 * SAMPLE_RATE):
        frames.append(stream.push(samples[start : start + 15 * SAMPLE_RATE]))
        held.append(len(stream._samples))
    assert sum(map(len, frames)) == module.WINDOW_FRAMES
    windowed, expected = (
        np.concatenate([*frames, stream.finish()]),
        one_pass(vad, samples),
    )
    assert len(windowed) == len(expected)
    # Overlapping sums are rounded in a different order, so that a frame at the
    # threshold may change.
    assert np.mean(windowed != expected) < 0.0005
    assert max(held) <= (3 * 108 + 15) * SAMPLE_RATE


@pytest.mark.parametrize("n", [0, 1, FRAME_SAMPLES, 5 * SAMPLE_RATE + 1])
def test_every_full_or_partial_frame_has_a_value(checkpoint, n):
    stream = load(checkpoint).stream()
    assert len(stream.push(bursts(0.1)[:n])) + len(stream.finish()) == -(
        -n // FRAME_SAMPLES
    )


def test_an_analysis_runs_with_pyannote_from_a_local_folder(
    checkpoint, calls, tmp_path, tiny_bundle
):
    values = {
        "vad": {
            "engine": "pyannote",
            "model": str(checkpoint.parent),
            "crosstalk": False,
        },
        "score": {"bundle": str(tiny_bundle)},
    }
    progress = run(
        [str(calls / "billing")],
        tmp_path / "out",
        Config.from_dict(values),
        threading.Event(),
    )
    assert (progress.done, progress.failed) == (2, 1)
    assert tables(tmp_path / "out")["recordings"][0]["status"] in ("done", "failed")


class Evil:
    """An object as in a malicious checkpoint, which runs code when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch):
    from ser_batch.speech.pyannote import load_model

    monkeypatch.chdir(tmp_path)
    torch.save({"pyannote.audio": Evil()}, tmp_path / "x.bin")
    with pytest.raises(UsageError, match="loaded safely"):
        load_model(str(tmp_path / "x.bin"))
    assert not (tmp_path / "pwned").exists()


def test_a_network_from_another_library_is_refused(tmp_path):
    from ser_batch.speech.pyannote import load_model

    torch.save(
        {"pyannote.audio": {"architecture": {"module": "os", "class": "system"}}},
        tmp_path / "x.bin",
    )
    with pytest.raises(UsageError, match="not one of pyannote.audio's"):
        load_model(str(tmp_path / "x.bin"))


def test_a_missing_model_exits_with_2_and_a_hint(calls, tmp_path, tiny_bundle):
    arguments = [
        "--vad",
        "pyannote",
        "--vad-model",
        "no/such-model",
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    ]
    said = ser("analyze", calls, *arguments)
    assert said.returncode == 2
    assert "give the path of a copy" in said.stderr


@pytest.mark.slow
def test_pyannote_is_imported_only_on_demand_and_without_telemetry():
    code = (
        "import sys, os; import ser_batch.pipeline\n"
        "assert 'pyannote.audio' not in sys.modules\n"
        "import ser_batch.speech.pyannote\n"
        "assert os.environ['PYANNOTE_METRICS_ENABLED'] == '0'\n"
        "from pyannote.audio.telemetry.metrics import is_metrics_enabled\n"
        "assert not is_metrics_enabled()"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr

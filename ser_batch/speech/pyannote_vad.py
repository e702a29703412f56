"""pyannote.audio's voice activity detection as a `Vad`, imported only on demand.

The pipeline sees windows of about eleven minutes with context on both sides, so that
memory does not grow with the recording. Telemetry is off.
"""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ser_batch.config.options import VadConfig
from ser_batch.errors import UsageError
from ser_batch.speech.vad import (
    FRAME_S,
    FRAME_SAMPLES,
    SAMPLE_RATE,
    Probabilities,
    Samples,
)

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
with warnings.catch_warnings():
    # It warns that it cannot decode files, but it only ever gets waveforms.
    warnings.simplefilter("ignore")
    from pyannote.audio import Model
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.pipelines import VoiceActivityDetection

if TYPE_CHECKING:
    from pyannote.core import Annotation

CONTEXT_FRAMES = 3375
"""Context on both sides of a window, 108 s, for which no frames are returned.

It covers the 10 s that pyannote's models look at, and is a whole number of VAD frames
(512 samples), of pyannote's frames (270) and of its steps (1 s), so that windows give
the same result as one pass over the whole recording.
"""
WINDOW_FRAMES = 6 * CONTEXT_FRAMES

_ALLOWED: list[Any] = [
    Problem,
    Resolution,
    Specifications,
    torch.torch_version.TorchVersion,
]


def load_model(name: str) -> Model:
    """Load a segmentation model from a local checkpoint or its folder, or the hub.

    Checkpoints are pickles, which can run code when they are loaded. One that contains
    anything but tensors, plain values and pyannote's own specifications is rejected.

    Raises:
        UsageError: there is no such model, or it cannot be loaded safely.
    """
    path = Path(name)
    path = path / "pytorch_model.bin" if path.is_dir() else path
    if not path.is_file():
        path = _from_hub(name)
    data = path.read_bytes()
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
        module = checkpoint["pyannote.audio"]["architecture"]["module"]
    except Exception as error:  # a file can fail to be a checkpoint in many ways
        raise UsageError(
            f"{path}: not a pyannote model that can be loaded safely: {error}"
        ) from error
    if not module.startswith("pyannote.audio.models."):
        raise UsageError(
            f"{path}: its network is {module}, which is not one of pyannote.audio's"
        )
    # These bytes contain nothing but what was just allowed, so it is safe to pass them
    # to the library's own loader.
    model = Model.from_pretrained(io.BytesIO(data))
    assert model is not None
    return model.eval()


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name, "pytorch_model.bin"))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OSError,
    ) as error:
        raise UsageError(
            f"--vad-model {name}: not a local file, and cannot be downloaded from the "
            f"hub ({type(error).__name__}): accept the model's licence there and log "
            "in, or give the path of a copy"
        ) from error


class PyannoteVad:
    """pyannote.audio's pipeline with the thresholds of `VadConfig`."""

    def __init__(self, config: VadConfig) -> None:
        assert config.model is not None
        torch.set_num_threads(1)
        model = load_model(config.model)
        self._pipeline = VoiceActivityDetection(segmentation=model)
        parameters: dict[str, Any] = {
            "min_duration_on": config.min_speech_s,
            "min_duration_off": config.min_silence_s,
        }
        assert isinstance(model.specifications, Specifications)
        if not model.specifications.powerset:
            parameters |= {"onset": config.onset, "offset": config.offset}
        self._pipeline.instantiate(parameters)

    def stream(self) -> "PyannoteStream":
        """Return a stream for a new channel."""
        return PyannoteStream(self._pipeline)


class PyannoteStream:
    """One channel; frames are 1 in the pipeline's speech regions and 0 elsewhere."""

    def __init__(self, pipeline: VoiceActivityDetection) -> None:
        self._pipeline = pipeline
        self._samples = np.zeros(0, np.float32)
        self._before = 0
        """Frames at the start of `_samples` that are context only."""

    def push(self, samples: Samples) -> Probabilities:
        """Return the frames of the windows that a block completes."""
        self._samples = np.concatenate([self._samples, samples])
        frames = []
        while (
            len(self._samples)
            >= (self._before + WINDOW_FRAMES + CONTEXT_FRAMES) * FRAME_SAMPLES
        ):
            frames.append(
                self._window(
                    WINDOW_FRAMES, self._before + WINDOW_FRAMES + CONTEXT_FRAMES
                )
            )
            end = self._before + WINDOW_FRAMES
            self._before = CONTEXT_FRAMES
            self._samples = self._samples[(end - CONTEXT_FRAMES) * FRAME_SAMPLES :]
        return np.concatenate(frames) if frames else np.zeros(0, np.float32)

    def finish(self) -> Probabilities:
        """Return the remaining frames."""
        n_frames = -(-len(self._samples) // FRAME_SAMPLES)
        if n_frames <= self._before:
            return np.zeros(0, np.float32)
        return self._window(n_frames - self._before, n_frames)

    def _window(self, n_frames: int, seen_frames: int) -> Probabilities:
        """Return `n_frames` after the leading context, from the first `seen_frames`."""
        waveform = torch.from_numpy(self._samples[: seen_frames * FRAME_SAMPLES])[None]
        file = {"waveform": waveform, "sample_rate": SAMPLE_RATE, "uri": "window"}
        speech: Annotation = self._pipeline(file)
        centres = (np.arange(self._before, self._before + n_frames) + 0.5) * FRAME_S
        frames = np.zeros(n_frames, np.float32)
        for region in speech.get_timeline().support():
            frames[(region.start <= centres) & (centres < region.end)] = 1
        return frames

"""pyannote.audio's voice activity detection as a `Vad`, imported only on demand.

The pipeline sees windows of about eleven minutes with context on both sides, so that
memory does not grow with the recording.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ser_batch.config.options import VadConfig
from ser_batch.speech.pyannote_models import load_model
from ser_batch.speech.vad import (
    FRAME_S,
    FRAME_SAMPLES,
    SAMPLE_RATE,
    Probabilities,
    Samples,
)

# After `pyannote_models`, which turns telemetry off.
from pyannote.audio.core.task import Specifications  # isort: skip
from pyannote.audio.pipelines import VoiceActivityDetection  # isort: skip

if TYPE_CHECKING:
    from pyannote.core import Annotation

CONTEXT_FRAMES = 3375
"""Context on both sides of a window, 108 s, for which no frames are returned.

It covers the 10 s that pyannote's models look at, and is a whole number of VAD frames
(512 samples), of pyannote's frames (270) and of its steps (1 s), so that windows give
the same result as one pass over the whole recording.
"""
WINDOW_FRAMES = 6 * CONTEXT_FRAMES


class PyannoteVad:
    """pyannote.audio's pipeline with the thresholds of `VadConfig`."""

    def __init__(self, config: VadConfig) -> None:
        assert config.model is not None
        torch.set_num_threads(1)
        model = load_model(config.model, "--vad-model")
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

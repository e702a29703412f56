"""Silero VAD (MIT licence): its sequence model, in ONNX Runtime."""

import importlib.util
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from ser_batch.speech.vad import FRAME_SAMPLES, Probabilities, Samples


class SileroVad:
    """Silero VAD's sequence model, which takes hundreds of frames in one call.

    The weights are those of the `silero-vad` package. The package itself is not
    imported: in every decoding process, it would import torch and change its number of
    threads.
    """

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(silero_model_path()), options, providers=["CPUExecutionProvider"]
        )

    def stream(self) -> "SileroStream":
        """Return a stream for a new channel."""
        return SileroStream(self.session)


def silero_model_path() -> Path:
    """Return the path of the sequence model in the `silero-vad` package."""
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(
        spec.submodule_search_locations[0], "data", "silero_vad_16k_sequence.onnx"
    )


class SileroStream:
    """One channel: the LSTM state, 64 samples of context, and the unfinished frame."""

    CONTEXT = 64
    MAX_FRAMES = 512

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        # The context of the first frame is silence.
        self._pending = np.zeros(self.CONTEXT, np.float32)

    def push(self, samples: Samples) -> Probabilities:
        """Return the frames that a block completes."""
        pending = np.concatenate([self._pending, samples])
        n_frames = (len(pending) - self.CONTEXT) // FRAME_SAMPLES
        self._pending = pending[n_frames * FRAME_SAMPLES :]
        probabilities = []
        for start in range(0, n_frames, self.MAX_FRAMES):
            n = min(self.MAX_FRAMES, n_frames - start)
            # (frame, context + frame samples): overlapping views of the waveform
            frames = np.lib.stride_tricks.as_strided(
                pending[start * FRAME_SAMPLES :],
                (n, self.CONTEXT + FRAME_SAMPLES),
                (pending.strides[0] * FRAME_SAMPLES, pending.strides[0]),
            )
            values, self._h, self._c = self._session.run(
                ["speech_probs", "hn", "cn"],
                {"input": np.ascontiguousarray(frames), "h": self._h, "c": self._c},
            )
            probabilities.append(values.reshape(-1))
        return (
            np.concatenate(probabilities) if probabilities else np.zeros(0, np.float32)
        )

    def finish(self) -> Probabilities:
        """Return the last frame, padded with silence, if one has begun."""
        rest = len(self._pending) - self.CONTEXT
        return (
            self.push(np.zeros(FRAME_SAMPLES - rest, np.float32))
            if rest
            else np.zeros(0, np.float32)
        )

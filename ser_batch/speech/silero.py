"""Silero VAD (MIT licence): its encoder as matrix products, its LSTM in ONNX Runtime.

In Silero's sequence model, the convolutions of the encoder see one to four steps at a
time, which is slow in ONNX Runtime. Here, the same weights run as a real FFT and matrix
products over hundreds of frames at once. The probabilities differ by less than 1e-5;
`tests/benchmarks/peers.py` prints how much faster that is.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx.helper
import onnx.numpy_helper
import onnx.utils
import scipy.fft
from jaxtyping import Float32
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from ser_batch.errors import UsageError
from ser_batch.speech.vad import FRAME_SAMPLES, Probabilities, Samples

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

WEIGHTS_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
"""The sequence model of silero-vad 6.2.3, whose layers `SileroEncoder` reproduces."""
CONTEXT = 64
"""Samples before each frame that the model sees as well."""
WINDOW, HOP = 256, 128
"""The STFT, in samples: four steps per frame."""
_ENCODED, _STATE = "/Transpose_output_0", ("h", "c")
_OUTPUTS = ("speech_probs", "hn", "cn")


class SileroVad:
    """Silero VAD, hundreds of frames at a time.

    The weights are those of the `silero-vad` package. The package itself is not
    imported: in every decoding process, it would import torch and change its number of
    threads.

    Raises:
        UsageError: the installed weights are not those that this code reproduces.
    """

    def __init__(self) -> None:
        path = silero_model_path()
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
            raise UsageError(
                f"{path}: unknown Silero weights; install silero-vad 6.2.3", path=path
            )
        model = onnx.load_from_string(data)
        weights = {
            w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer
        }
        self.encoder = SileroEncoder(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            _recurrent_part(model), options, providers=["CPUExecutionProvider"]
        )

    def stream(self) -> "SileroStream":
        """Return a stream for a new channel."""
        return SileroStream(self)


def silero_model_path() -> Path:
    """Return the path of the sequence model in the `silero-vad` package."""
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(
        spec.submodule_search_locations[0], "data", "silero_vad_16k_sequence.onnx"
    )


def _recurrent_part(model: onnx.ModelProto) -> bytes:
    """Return the model from the encoder's output on: the LSTM and the output layer."""
    shape: list[str | int | None] = ["frames", 1, 128]
    encoded = onnx.helper.make_tensor_value_info(
        _ENCODED, onnx.TensorProto.FLOAT, shape
    )
    model.graph.value_info.append(encoded)
    extractor = onnx.utils.Extractor(model)
    return extractor.extract_model([_ENCODED, *_STATE], [*_OUTPUTS]).SerializeToString()


class SileroEncoder:
    """The STFT and the four convolutions of Silero's encoder."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        # A row of the basis is a windowed sinusoid; that of frequency 0 is the window.
        self._window = weights["stft.forward_basis_buffer"][0, 0]
        self._layers = [
            (
                _as_matrix(weights[f"encoder.{number}.weight"]),
                weights[f"encoder.{number}.bias"],
                stride,
            )
            for number, stride in enumerate((1, 2, 2, 1))
        ]

    def __call__(
        self, frames: Float32[np.ndarray, "frames 576"]
    ) -> Float32[np.ndarray, "frames 1 128"]:
        """Encode frames, each with its context in front of it."""
        reflected = frames[:, -2 : -2 - CONTEXT : -1]
        padded = np.concatenate([frames, reflected], axis=1)
        windows = sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
        x = np.abs(scipy.fft.rfft(windows * self._window))  # (frames, 4, 129)
        for kernel, bias, stride in self._layers:
            x = _convolved(x, kernel, bias, stride)
        return x


def _as_matrix(kernel: np.ndarray) -> Float32[np.ndarray, "inputs outputs"]:
    """Return a kernel (out, in, 3) as the matrix (3 in, out) that does the same."""
    return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, len(kernel)))


def _convolved(
    x: Float32[np.ndarray, "frames steps channels"],
    kernel: Float32[np.ndarray, "inputs outputs"],
    bias: Float32[np.ndarray, " outputs"],
    stride: int,
) -> Float32[np.ndarray, "frames steps channels"]:
    """Convolve over three steps, padded with one step of zeros, and rectify."""
    n_frames, n_steps, width = x.shape
    padded = np.zeros((n_frames, n_steps + 2, width), np.float32)
    padded[:, 1:-1] = x
    n_out = (n_steps - 1) // stride + 1
    # Three neighbouring steps lie next to each other in memory: one row of a matrix.
    per_frame, per_step, per_channel = padded.strides
    rows = as_strided(
        padded,
        (n_frames, n_out, 3 * width),
        (per_frame, stride * per_step, per_channel),
    )
    y = rows.reshape(-1, 3 * width) @ kernel
    y += bias
    np.maximum(y, 0, out=y)
    return y.reshape(n_frames, n_out, -1)


class SileroStream:
    """One channel: the LSTM state, 64 samples of context, and the unfinished frame."""

    MAX_FRAMES = 256

    def __init__(self, vad: SileroVad) -> None:
        self._vad = vad
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        # The context of the first frame is silence.
        self._pending = np.zeros(CONTEXT, np.float32)

    def push(self, samples: Samples) -> Probabilities:
        """Return the frames that a block completes."""
        pending = np.concatenate([self._pending, samples])
        n_frames = (len(pending) - CONTEXT) // FRAME_SAMPLES
        self._pending = pending[n_frames * FRAME_SAMPLES :]
        probabilities = []
        for start in range(0, n_frames, self.MAX_FRAMES):
            n = min(self.MAX_FRAMES, n_frames - start)
            # (frame, context + frame samples): overlapping views on the waveform
            frames = as_strided(
                pending[start * FRAME_SAMPLES :],
                (n, CONTEXT + FRAME_SAMPLES),
                (pending.strides[0] * FRAME_SAMPLES, pending.strides[0]),
            )
            inputs = {_ENCODED: self._vad.encoder(frames), "h": self._h, "c": self._c}
            values, self._h, self._c = self._vad.session.run([*_OUTPUTS], inputs)
            probabilities.append(values.reshape(-1))
        return (
            np.concatenate(probabilities) if probabilities else np.zeros(0, np.float32)
        )

    def finish(self) -> Probabilities:
        """Return the last frame, padded with silence, if one has begun."""
        rest = len(self._pending) - CONTEXT
        return (
            self.push(np.zeros(FRAME_SAMPLES - rest, np.float32))
            if rest
            else np.zeros(0, np.float32)
        )

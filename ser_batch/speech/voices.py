"""The voice model: windows of speech as points, close together for the same voice.

    samples at 8 kHz -> log mel bands -> convolutions over time -> mean and standard
    deviation over a window -> embedding -> discriminant space

The network is a TDNN with statistics pooling (Snyder et al. 2018, X-vectors), trained
with an additive angular margin (Deng et al. 2019, ArcFace). In the discriminant space,
one voice varies equally in all directions, and each axis is scaled by how well it tells
voices apart (Ioffe 2006, Probabilistic linear discriminant analysis).

It runs in numpy, so that decoding processes need no torch; `training/voices` trains it.
The points identify people: they are never written anywhere.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.fft
from jaxtyping import Float32, Int
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load

from ser_batch.errors import BundleError
from ser_batch.shipped import MODELS_FOLDER
from ser_batch.speech.diarization import SAMPLE_RATE, Samples

WINDOW, HOP = 256, 80
N_MELS, LOW_HZ, HIGH_HZ = 40, 60.0, 3800.0
FLOOR = 1e-6
LEVEL = 0.05
"""Speech is scaled to this RMS, so that the floor means the same everywhere."""
STRIDE, REACH = 4, 3
"""The first convolution makes one step of four frames, and reaches three further."""
STEP_S = STRIDE * HOP / SAMPLE_RATE
DILATIONS = (1, 1, 2)
GAP = max(DILATIONS)
"""Steps of silence between regions: as far as any convolution reaches."""
VARIANCE_FLOOR = 1e-4
FORMAT = 3

Windows = Int[np.ndarray, "windows 2"]
"""The first step of each window, and the one after its last."""
LogMel = Float32[np.ndarray, "frames mels"]
Pooled = Float32[np.ndarray, "windows statistics"]
Points = Float32[np.ndarray, "windows axes"]


def log_mel(samples: Samples) -> LogMel:
    """Return the log power in mel bands of whole frames; none if it is too short."""
    if len(samples) < WINDOW:
        return np.zeros((0, N_MELS), np.float32)
    frames = sliding_window_view(samples, WINDOW)[::HOP] * _HANN
    spectrum = scipy.fft.rfft(frames)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.log(power @ _MEL + np.float32(FLOOR))


def mel_filters() -> Float32[np.ndarray, "bins mels"]:
    """Return triangular filters of height 1, evenly spaced in mel.

    O'Shaughnessy 1987, HTK.
    """

    def mel(hz: float) -> float:
        return 2595 * float(np.log10(1 + hz / 700))

    points = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), N_MELS + 2)
    edges = 700 * (10 ** (points / 2595) - 1)
    hz = np.arange(WINDOW // 2 + 1)[:, None] * SAMPLE_RATE / WINDOW
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.minimum(rise, fall).clip(0).astype(np.float32)


# Periodic, as torch.hann_window.
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
_MEL = mel_filters()


@dataclass(frozen=True, slots=True)
class Steps:
    """The network's output for regions of speech, as running sums.

    Of values and of their squares, so that any window is pooled in constant time.
    """

    sums: Float32[np.ndarray, "steps+1 statistics"]
    regions: Int[np.ndarray, "regions 2"]
    """The first step of each region, and the one after its last."""

    def every(self, hop: int, length: int) -> Windows:
        """Return windows of a length, one every `hop` steps from a region's start.

        A region that is shorter is one window.
        """
        windows = [
            np.stack([starts, np.minimum(starts + length, last)], axis=1)
            for first, last in self.regions.tolist()
            if first < last
            for starts in [np.arange(first, max(first, last - length) + 1, hop)]
        ]
        return np.concatenate([np.zeros((0, 2), int), *windows])

    def around(
        self,
        region: Int[np.ndarray, " windows"],
        middles: Int[np.ndarray, " windows"],
        length: int,
    ) -> Windows:
        """Return windows around steps, given from the start of their region.

        They are moved, and if need be shortened, to lie within it.
        """
        first, last = self.regions[region].T
        latest = np.maximum(last - length, first)
        starts = np.minimum(np.maximum(first + middles - length // 2, first), latest)
        return np.stack([starts, np.minimum(starts + length, last)], axis=1)

    def pooled(self, windows: Windows) -> Pooled:
        """Return the mean and the deviation of each window."""
        starts, ends = windows.T
        pooled = self.sums[ends]
        pooled -= self.sums[starts]
        pooled /= (ends - starts)[:, None].astype(np.float32)
        width = pooled.shape[1] // 2
        mean, square = pooled[:, :width], pooled[:, width:]
        square -= np.square(mean)
        np.maximum(square, 0, out=square)
        square += np.float32(VARIANCE_FLOOR)
        np.sqrt(square, out=square)
        return pooled


def running_sums(
    values: Float32[np.ndarray, "steps values"],
) -> Float32[np.ndarray, "steps+1 statistics"]:
    """Return the sums of the first 0, 1, ... values, and of their squares."""
    n, width = values.shape
    sums = np.zeros((n + 1, 2 * width), np.float32)
    sums[1:, :width] = values
    np.square(values, out=sums[1:, width:])
    # Row by row: numpy.cumsum goes through each column, in three times the time.
    for before, row in pairwise(sums):
        row += before
    return sums


@dataclass(frozen=True)
class VoiceModel:
    """The weights of the network, and the discriminant space.

    The convolutions have their batch norms folded in.
    """

    weights: dict[str, np.ndarray]
    confidence: tuple[float, float]
    """Slope and offset of `expected_accuracy`."""
    separation: float = 0.0
    """Clusters whose means are closer are the same voice in different moods."""
    overlap_above: float = np.inf
    """Two voices overlap where the log odds are higher."""

    def steps(
        self, regions: Sequence[LogMel], mean: Float32[np.ndarray, " mels"]
    ) -> Steps:
        """Return the network's output for regions of speech, each on its own.

        Args:
            regions: their log mel bands.
            mean: the mean over the speech of the channel.
        """
        n_steps = [-(-len(own) // STRIDE) for own in regions]
        starts = np.cumsum([GAP, *(n + GAP for n in n_steps)])
        x = np.zeros((STRIDE * int(starts[-1]), N_MELS), np.float32)
        silent = np.ones(int(starts[-1]), bool)
        for own, n, start in zip(regions, n_steps, starts[:-1], strict=True):
            x[STRIDE * start : STRIDE * start + len(own)] = own - mean
            silent[start : start + n] = False
        w = self.weights
        padded = np.pad(x, ((REACH, REACH), (0, 0)))
        reach = (2 * REACH + 1) * N_MELS
        windows = sliding_window_view(padded.ravel(), reach)[:: STRIDE * N_MELS]
        h = _activated(windows @ w["in"], w["in_bias"])
        gaps = np.flatnonzero(silent)
        h[gaps] = 0
        for number, dilation in enumerate(DILATIONS):
            kernel, bias = w[f"block{number}"], w[f"block{number}_bias"]
            out = h @ kernel[1]
            out[dilation:] += h[:-dilation] @ kernel[0]
            out[:-dilation] += h[dilation:] @ kernel[2]
            h += _activated(out, bias)
            h[gaps] = 0
        h = _activated(h @ w["out"], w["out_bias"])
        return Steps(
            running_sums(h), np.stack([starts[:-1], starts[:-1] + n_steps], axis=1)
        )

    def points(self, pooled: Pooled) -> Points:
        """Return the point of each window, in the discriminant space."""
        w = self.weights
        embedding = pooled @ w["embedding"] + w["embedding_bias"]
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
        return embedding @ w["axes"]

    def overlap(self, pooled: Pooled) -> Float32[np.ndarray, " windows"]:
        """Return the log odds that two voices overlap in each window."""
        w = self.weights
        hidden = _activated(pooled @ w["overlap"], w["overlap_bias"])
        return hidden @ w["overlap_odds"] + w["overlap_odds_bias"]

    def expected_accuracy(self, separation: float) -> float:
        """Return the share of speech that is expected to go to the right voice.

        Args:
            separation: the distance between the means of two voices.
        """
        slope, offset = self.confidence
        return float(0.5 + 0.5 / (1 + np.exp(-(slope * separation + offset))))


def _activated(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    x += bias
    return np.maximum(x, 0, out=x)


def load_voices(folder: Path = MODELS_FOLDER / "voices") -> VoiceModel:
    """Load the voice model.

    Raises:
        BundleError: it is missing or damaged, or has another format.
    """
    try:
        config = json.loads((folder / "voices.json").read_text(encoding="utf-8"))
        data = (folder / "voices.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        message = f"{folder}: the voice model cannot be read ({error}); install again"
        raise BundleError(message, path=folder) from error
    if config.get("format") != FORMAT:
        raise BundleError(
            f"{folder}: format {config.get('format')} of a voice model; this version "
            f"reads format {FORMAT}",
            path=folder,
        )
    if hashlib.sha256(data).hexdigest() != config.get("sha256"):
        raise BundleError(
            f"{folder}: the weights of the voice model do not match voices.json "
            "(SHA-256 differs); install again",
            path=folder,
        )
    slope, offset = config["confidence"]
    return VoiceModel(
        load(data), (slope, offset), config["separation"], config["overlap_above"]
    )

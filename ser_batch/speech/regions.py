"""From speech probabilities to speech regions.

Pure functions, in whole VAD frames, so that nothing is rounded. A region is a pair of
frame numbers [start, end); regions are arrays of shape (regions, 2), ordered and
disjoint.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from ser_batch.config.options import VadConfig
from ser_batch.speech.vad import FRAME_S

CURVE_PARTS, QUIETEST_DB = 600, -60.0

Regions = Int[np.ndarray, "regions 2"]


def speech_regions(
    probabilities: Float[np.ndarray, " frames"], config: VadConfig
) -> Regions:
    """Return the speech regions of one channel.

    After the hysteresis, short silences are closed, short speech is dropped, and edges
    are padded.
    """
    regions = spans(hysteresis(probabilities, config.onset, config.offset))
    regions = close_gaps(regions, _frames(config.min_silence_s))
    regions = regions[regions[:, 1] - regions[:, 0] >= _frames(config.min_speech_s)]
    pad = _frames(config.pad_s)
    padded = np.stack(
        [
            np.maximum(regions[:, 0] - pad, 0),
            np.minimum(regions[:, 1] + pad, len(probabilities)),
        ],
        axis=1,
    )
    return close_gaps(padded, 1)


def hysteresis(
    probabilities: Float[np.ndarray, " frames"], onset: float, offset: float
) -> np.ndarray:
    """Return which frames are speech: from one >= `onset` until one < `offset`."""
    # Frames >= onset switch on, frames < offset switch off, and those in between keep
    # the state of the last switch.
    turns = (probabilities >= onset) | (probabilities < offset)
    last = np.maximum.accumulate(
        np.where(turns, np.arange(len(turns), dtype=np.int32), -1)
    )
    on = probabilities >= onset
    return np.where(last >= 0, on[np.maximum(last, 0)], False)


def close_gaps(
    regions: Regions, min_gap: int, others: Regions | None = None
) -> Regions:
    """Merge regions that overlap or are less than `min_gap` frames apart.

    They stay apart if one of the `others` begins between them.
    """
    if len(regions) < 2:
        return regions
    apart = regions[1:, 0] - regions[:-1, 1] >= min_gap
    if others is not None and len(others):
        starts = np.append(np.sort(others[:, 0]), np.iinfo(int).max)
        following = starts[np.searchsorted(starts, regions[:-1, 1])]
        apart |= following < regions[1:, 0]
    return np.stack(
        [regions[np.r_[True, apart], 0], regions[np.r_[apart, True], 1]], axis=1
    )


def frame_levels_db(
    samples: Float32[np.ndarray, "frames samples"],
) -> Float32[np.ndarray, " frames"]:
    """Return the RMS level of each frame in dB below full scale, at least -120.

    A constant offset is not sound, and does not count.
    """
    sound = samples - samples.mean(axis=1, keepdims=True)
    power = np.einsum("fs,fs->f", sound, sound) / samples.shape[1]
    return 10 * np.log10(np.maximum(power, 1e-12))


def level_curve(levels_db: Float32[np.ndarray, " frames"]) -> bytes:
    """Return the highest level in each of up to `CURVE_PARTS` equal parts, as bytes.

    From 0 (-60 dBFS and below) to 255 (0 dBFS).
    """
    n_parts = min(CURVE_PARTS, len(levels_db))
    starts = np.arange(n_parts) * len(levels_db) // max(n_parts, 1)
    highest = np.maximum.reduceat(levels_db, starts) if n_parts else levels_db
    share = (highest / -QUIETEST_DB + 1).clip(0, 1)
    return (255 * share).round().astype(np.uint8).tobytes()


def spans(on: np.ndarray) -> Regions:
    """Return the runs of true values as pairs [start, end)."""
    edges = np.flatnonzero(np.diff(np.r_[False, on, False]))
    return edges.reshape(-1, 2)


def inside(regions: Regions, n_frames: int) -> Bool[np.ndarray, " frames"]:
    """Return which of the first `n_frames` frames are within a region."""
    edges = np.zeros(n_frames + 1, np.int32)
    starts, ends = np.minimum(regions, n_frames).T
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    return np.cumsum(edges[:-1]) > 0


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_S)

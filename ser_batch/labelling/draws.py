"""Which segments people label: some at random, some from which a model learns most.

The random ones are a sequential Poisson sample (Ohlsson 1998, Sequential Poisson
sampling, Journal of Official Statistics 14): every segment has a random number u in
(0, 1) and a size z, and the n segments of lowest u / z are drawn. A segment's inclusion
probability is then min(1, c z), with c such that the probabilities sum to n. The order
does not depend on n, so more can be drawn later.

Sizes are those of square-root allocation (Bankier 1988): a stratum (role, predicted
label, third of confidence) gets a share of the sample in proportion to the square root
of its number of segments, so that rare labels are not missed. Within a recording, the
random numbers are collocated (Brewer, Early & Hanif 1984): they form a van der Corput
sequence with a random start, so that no recording and no label is drawn much more often
than expected.
"""

import hashlib

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

CONFIDENCES = 3
"""Strata of confidence, of equal numbers of segments."""
OF_A_RECORDING = 3
"""How many segments of a recording may be chosen because they teach most."""
SIDE = ["recording_id", "channel", "speaker"]
"""What identifies one side of a call."""


def segment_ids(segments: pd.DataFrame, seed: int, key: bytes = b"") -> list[str]:
    """Return a name for each segment, by where it lies; with a key, a keyed hash."""
    places = zip(*(segments[column] for column in [*SIDE, "start_s"]), strict=True)
    return [_digest("/".join(map(str, (seed, *place))), 6, key) for place in places]


def random_numbers(
    segments: pd.DataFrame, predicted: np.ndarray, confidence: np.ndarray, seed: int
) -> Float[np.ndarray, " segments"]:
    """Return u of each segment, collocated within its recording."""
    order = np.lexsort((confidence, predicted, segments.recording_id))
    names = segments.recording_id.to_numpy()[order]
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    sizes = np.diff(np.r_[starts, len(names)])
    place = np.arange(len(names)) - np.repeat(starts, sizes)
    shift = [int(_digest(f"{seed}/{names[i]}", 6), 16) / 16**12 for i in starts]
    numbers = np.empty(len(names))
    numbers[order] = (_van_der_corput(place) + np.repeat(shift, sizes)) % 1
    return numbers


def sizes(
    roles: pd.Series, predicted: np.ndarray, confidence: np.ndarray
) -> Float[np.ndarray, " segments"]:
    """Return z of each segment: 1 over the square root of its stratum's number."""
    rank = pd.Series(confidence).rank(method="first").to_numpy() - 1
    third = (rank * CONFIDENCES // max(len(rank), 1)).astype(int)
    strata = pd.DataFrame(
        {"role": roles.fillna("").to_numpy(), "label": predicted, "third": third}
    )
    count = strata.groupby(["role", "label", "third"])["third"].transform("size")
    return 1 / np.sqrt(count.to_numpy())


def inclusion(
    sizes: Float[np.ndarray, " segments"], n: int
) -> Float[np.ndarray, " segments"]:
    """Return the inclusion probability of each segment in a sample of n.

    >>> inclusion(np.array([1.0, 1.0, 6.0]), 2)
    array([0.5, 0.5, 1. ])
    """
    if n >= len(sizes):
        return np.ones(len(sizes))
    certain = np.zeros(len(sizes), bool)
    while True:
        probability = np.where(
            certain, 1.0, (n - certain.sum()) * sizes / sizes[~certain].sum()
        )
        if not (beyond := probability > 1).any():
            return probability
        certain |= beyond


def teaching_order(
    segments: pd.DataFrame, probabilities: Float[np.ndarray, "segments labels"]
) -> Int[np.ndarray, " chosen"]:
    """Return the indices of segments, from the one that teaches most.

    A model learns most where it is uncertain (the two highest probabilities are close:
    Scheffer et al. 2001), and where it disagrees with itself: its probabilities differ
    from the mean of those of the segments before and after, on the same side. The sum
    of both counts, each between 0 and 1. At most `OF_A_RECORDING` of a recording are
    returned.
    """
    top = np.sort(probabilities, axis=1)[:, ::-1]
    uncertainty = 1 - (top[:, 0] - top[:, 1] if top.shape[1] > 1 else top[:, 0])
    order = segments.sort_values([*SIDE, "start_s"], kind="stable").index.to_numpy()
    p = probabilities[order]
    side = segments.groupby(SIDE, dropna=False).ngroup().to_numpy()[order]
    total, n = np.zeros_like(p), np.zeros(len(p))
    same = side[1:] == side[:-1]
    for here, there in ((slice(1, None), slice(-1)), (slice(-1), slice(1, None))):
        total[here] += np.where(same[:, None], p[there], 0)
        n[here] += same
    mean = np.where(n[:, None] > 0, total / np.maximum(n, 1)[:, None], p)
    disagreement = np.empty(len(p))
    disagreement[order] = np.abs(p - mean).sum(axis=1) / 2
    best = np.argsort(-(uncertainty + disagreement), kind="stable")
    rank = segments.iloc[best].groupby("recording_id").cumcount().to_numpy()
    return best[rank < OF_A_RECORDING]


def _van_der_corput(places: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the van der Corput sequence in base 2: 0, 1/2, 1/4, 3/4, 1/8, ..."""
    values, digit, left = np.zeros(len(places)), 0.5, places.copy()
    while left.any():
        values += digit * (left & 1)
        left >>= 1
        digit /= 2
    return values


def _digest(text: str, size: int, key: bytes = b"") -> str:
    return hashlib.blake2b(text.encode(), digest_size=size, key=key).hexdigest()

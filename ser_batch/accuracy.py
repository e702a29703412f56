"""Recall and calibration of answers, each of which may count for several."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

N_BINS = 15


def recalls(
    matrix: Num[np.ndarray, "*n labels labels"],
) -> Float[np.ndarray, "*n labels"]:
    """Return the recall of each label (row); NaN for labels that do not occur."""
    total = matrix.sum(axis=-1)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    occurs = total > 0
    return np.where(occurs, hits / np.where(occurs, total, 1), np.nan)


def uars(matrix: Num[np.ndarray, "*n labels labels"]) -> Float[np.ndarray, "*n"]:
    """Return the unweighted average recall over labels that occur.

    Schuller et al., 2009.
    """
    return np.asarray(np.nanmean(recalls(matrix), axis=-1))


def reliability(
    hit: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    n_bins: int = N_BINS,
) -> list[dict[str, Any]]:
    """Return mean confidence and accuracy by equal-width bin of confidence.

    Empty bins are omitted. `clips` is a plain count, and `weight` a sum of weights (of
    one each, if none are given).
    """
    weights = np.ones(len(hit)) if weight is None else weight
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return [
        {
            "clips": int(own.sum()),
            "weight": float(weights[own].sum()),
            "confidence": float(np.average(confidence[own], weights=weights[own])),
            "accuracy": float(np.average(hit[own], weights=weights[own])),
        }
        for own in (bins == number for number in range(n_bins))
        if weights[own].any()
    ]


def calibration_error(
    hit: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    n_bins: int = N_BINS,
) -> float:
    """Return the expected calibration error over equal-width bins of confidence.

    Guo et al., ICML 2017.
    """
    rows = reliability(hit, confidence, weight, n_bins)
    return sum(
        row["weight"] * abs(row["accuracy"] - row["confidence"]) for row in rows
    ) / sum(row["weight"] for row in rows)

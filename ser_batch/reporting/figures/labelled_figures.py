"""Figures of a model on labelled segments of a centre's own calls.

They are weighted to all segments, and the units of the intervals are recordings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit, stdtrit

from ser_batch.accuracy import calibration_error, reliability, uars
from ser_batch.labelling.agreement import Labels, confusions, counts_of
from ser_batch.labelling.folder import Labelling
from ser_batch.reporting.figures.estimates import (
    LEVEL,
    MIN_UNITS,
    TAILS,
    Scale,
    Units,
    estimate,
)
from ser_batch.reporting.figures.labelled import FEW, Judged

BINS = 10
COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
Z = 1.96
"""The quantile of the normal distribution for `LEVEL` (Wilson 1927)."""
FEW_PAIRS = 20
"""With fewer clips that two labellers answered, no ceiling is given."""


def figures_of(own: Judged) -> dict[str, Any]:
    """Return all figures on labelled segments, as plain values.

    All refer to the most probable of the labels that labellers choose from; `coverage`
    and `accuracy_when_not_abstaining` to those segments on which the model does not
    abstain. Figures are weighted to all segments; `clips` and `by_label` are plain
    counts.
    """
    hit = own.answers == own.truth
    of_unit = _by_recording(own)
    matrix = of_unit.sum(axis=0)
    values = own.probabilities
    confidence = values.max(axis=1)
    ratios = {
        **{f"recall {label}": (of_unit[:, i, i], of_unit[:, i].sum(axis=1))
           for i, label in enumerate(own.labels)},
        **{f"precision {label}": (of_unit[:, i, i], of_unit[:, :, i].sum(axis=1))
           for i, label in enumerate(own.labels)},
        "accuracy": (of_unit.trace(axis1=1, axis2=2), of_unit.sum(axis=(1, 2))),
    }  # fmt: skip
    intervals = _ratios(ratios)
    kept = own.weight * own.kept
    return {
        "clips": len(set(own.segment)),
        "recordings": len(of_unit),
        "by_label": {
            label: round(float(own.share[own.truth == i].sum()), 1)
            for i, label in enumerate(own.labels)
        },
        "uar": float(uars(matrix)),
        "uar_labels": int((matrix.sum(axis=1) > 0).sum()),
        "intervals_95": {
            "uar": _uar_interval(of_unit),
            "accuracy": intervals["accuracy"],
            "recall": {k: intervals[f"recall {k}"] for k in own.labels},
            "precision": {k: intervals[f"precision {k}"] for k in own.labels},
        },
        "accuracy": float(own.weight @ hit / own.weight.sum()),
        "recall": _known(own.labels, matrix.diagonal(), matrix.sum(axis=1)),
        "precision": _known(own.labels, matrix.diagonal(), matrix.sum(axis=0)),
        "share": {
            label: float(matrix[i].sum() / matrix.sum())
            for i, label in enumerate(own.labels)
        },
        "ece": calibration_error(hit, confidence, own.weight, BINS),
        "reliability": reliability(hit, confidence, own.weight, BINS),
        "coverage": float(kept.sum() / own.weight.sum()),
        "accuracy_when_not_abstaining": (
            float(kept @ hit / kept.sum()) if kept.any() else None
        ),
        "accuracy_by_coverage": _by_coverage(hit, confidence, own.weight),
        "confusion": (matrix * own.share.sum() / matrix.sum()).tolist(),
    }


def uar_of(own: Judged) -> float:
    """Return the unweighted average recall alone."""
    return float(uars(_by_recording(own).sum(axis=0)))


def uar_difference(
    after: Judged, before: Judged
) -> tuple[float, tuple[float, float] | None]:
    """Return the change in UAR on the same segments, and its 95 % interval.

    The paired jackknife over recordings, with Student's t.
    """
    of_unit = [_by_recording(own) for own in (after, before)]
    change = float(np.subtract(*(uars(own.sum(axis=0)) for own in of_unit)))
    n = len(of_unit[0])
    if n < MIN_UNITS:
        return change, None
    without = np.subtract(*(uars(own.sum(axis=0) - own) for own in of_unit))
    half = _half_width(without)
    return change, (change - half, change + half)


def ceiling(labelling: Labelling, labels: Labels) -> dict[str, Any] | None:
    """Return how well one labeller does by the labels of another; None if unknown.

    On the segments that the model is judged on, with the same weights. No model can be
    expected to do much better by these labels.
    """
    counts = counts_of(labels.of, labelling.record.labels)
    inclusion = labelling.inclusion(labels.answered)
    unusable = labelling.segments["clip"].isin(list(labels.unusable)).to_numpy()
    counts[np.isnan(inclusion) | unusable] = 0
    both = counts.sum(axis=1) > 1
    if both.sum() < FEW_PAIRS:
        return None
    pairs = confusions(counts[both], 1 / inclusion[both])
    return {"uar": float(uars(pairs)), "accuracy": float(pairs.trace() / pairs.sum())}


def in_words(figures: Mapping[str, Any]) -> list[str]:
    """Return what may be relied on, in a sentence for each label that occurs."""
    sentences = []
    for label, n in figures["by_label"].items():
        if not n:
            continue
        if n < FEW:
            sentences.append(f"{label}: only {n:g} labelled, too few to say")
            continue
        found = _with_interval(figures, "recall", label)
        text = f"{label}: {found} of the {label} segments are found"
        if label in figures["precision"]:
            right = _with_interval(figures, "precision", label)
            text += f"; of those called {label}, {right} are"
        sentences.append(text)
    return sentences


def _by_recording(own: Judged) -> Float[np.ndarray, "recordings labels labels"]:
    """Return the confusion matrix of each recording, weighted to all segments."""
    names, unit = np.unique(own.recording, return_inverse=True)
    matrices = np.zeros((len(names), len(own.labels), len(own.labels)))
    np.add.at(matrices, (unit, own.truth, own.answers), own.weight)
    return matrices


def _uar_interval(
    of_unit: Float[np.ndarray, "units labels labels"],
) -> list[float] | None:
    """Return the jackknife interval on the scale of the logit (Miller 1974)."""
    n = len(of_unit)
    value = uars(of_unit.sum(axis=0))
    if n < MIN_UNITS or not 0 < value < 1:
        return None
    without = np.clip(uars(of_unit.sum(axis=0) - of_unit), 1e-6, 1 - 1e-6)
    scaled = logit(without)
    half = _half_width(scaled)
    if not half > 0:
        return None
    return [float(expit(logit(value) - half)), float(expit(logit(value) + half))]


def _half_width(without: Float[np.ndarray, " units"]) -> float:
    """Return half the width of a jackknife interval, given what leaves out each unit.

    The degrees of freedom are fewer where a few units contribute most, as in
    `estimates`.
    """
    n, squares = len(without), (without - without.mean()) ** 2
    error = np.sqrt((n - 1) / n * squares.sum())
    if not error > 0:
        return 0.0
    df = np.clip(TAILS * squares.sum() ** 2 / (squares**2).sum() - 1, 1, n - 1)
    return float(stdtrit(df, (1 + LEVEL) / 2) * error)


def _ratios(
    sums: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, list[float] | None]:
    """Return the interval of each ratio of two sums over recordings."""
    over = np.stack([own[0] for own in sums.values()], axis=1)
    by = np.stack([own[1] for own in sums.values()], axis=1)
    units = Units(over, by, (by > 0).astype(int))
    low, high = estimate(units, [Scale.logit] * over.shape[1]).limits()
    # Where all are right, or none, the interval is that of as many equal recordings.
    total = by.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, n = over.sum(axis=0) / total, total**2 / (by**2).sum(axis=0)
    extreme = ((p == 0) | (p == 1)) & ((by > 0).sum(axis=0) >= MIN_UNITS)
    bound = Z**2 / (n + Z**2)
    low = np.where(extreme, np.where(p == 1, 1 - bound, 0), low)
    high = np.where(extreme, np.where(p == 1, 1, bound), high)
    return {
        name: None if np.isnan(low[i]) else [float(low[i]), float(high[i])]
        for i, name in enumerate(sums)
    }


def _known(labels: Sequence[str], over: np.ndarray, by: np.ndarray) -> dict[str, float]:
    return {
        label: float(over[i] / by[i]) for i, label in enumerate(labels) if by[i] > 0
    }


def _by_coverage(
    hit: np.ndarray, confidence: np.ndarray, weight: np.ndarray
) -> dict[str, float]:
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    right = np.cumsum((weight * hit)[order]) / np.cumsum(weight[order])
    at = np.minimum(np.searchsorted(share, COVERAGES), len(hit) - 1)
    return {f"{c:g}": float(right[i]) for c, i in zip(COVERAGES, at, strict=True)}


def _with_interval(figures: Mapping[str, Any], name: str, label: str) -> str:
    value = figures[name][label]
    interval = figures["intervals_95"][name][label]
    if interval is None:
        return f"{value:.0%}"
    return f"{value:.0%} ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"

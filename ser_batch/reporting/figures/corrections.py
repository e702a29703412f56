"""What labelled segments correct: shares, and thresholds of alerts."""

from collections.abc import Collection
from typing import Any

import numpy as np

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.labelled import FEW, Judged

N_BOOTSTRAP = 1000
LIMITS = (2.5, 97.5)


def corrected_share(
    own: Judged, labels: Collection[str], stated: float
) -> tuple[float, float, float] | None:
    """Return the true share that a mean probability stands for, and its 95 % interval.

    The adjusted count with probabilities (Forman 2005; Bella et al. 2010): where a and
    b are the mean probabilities of segments that are, and are not, of these labels, a
    stated share m stands for (m - b) / (a - b). The interval is a percentile bootstrap
    over recordings.

    Returns:
        None if there are too few of either kind, or the model cannot tell them apart.
    """
    columns = [i for i, label in enumerate(own.labels) if label in labels]
    p = own.probabilities[:, columns].sum(axis=1)
    is_true = np.isin(own.truth, columns)
    if min(own.share[is_true].sum(), own.share[~is_true].sum()) < FEW:
        return None
    names, unit = np.unique(own.recording, return_inverse=True)
    if len(names) < MIN_UNITS:
        return None
    sums = np.zeros((len(names), 4))
    for column, value in enumerate(
        (own.weight * p * is_true, own.weight * is_true,
         own.weight * p * ~is_true, own.weight * ~is_true)
    ):  # fmt: skip
        np.add.at(sums[:, column], unit, value)

    def share(total: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = total[..., 0] / total[..., 1], total[..., 2] / total[..., 3]
            return np.where(a > b, (stated - b) / (a - b), np.nan)

    rng = np.random.default_rng(0)
    drawn = sums[rng.integers(len(names), size=(N_BOOTSTRAP, len(names)))].sum(axis=1)
    values, value = share(drawn), float(share(sums.sum(axis=0)))
    if np.isnan(value):
        return None
    # A draw in which the model cannot tell them apart excludes nothing.
    low = np.percentile(np.where(np.isnan(values), 0, values), LIMITS[0])
    high = np.percentile(np.where(np.isnan(values), 1, values), LIMITS[1])
    value, low, high = (float(np.clip(x, 0, 1)) for x in (value, low, high))
    return value, low, high


def alert_threshold(own: Judged, label: str, precision: float) -> dict[str, Any] | None:
    """Return the lowest probability of a label above which a precision is reached.

    With the precision and the recall there; None if no threshold reaches it with at
    least `FEW` segments above it.

    Raises:
        UsageError: there is no such label.
    """
    if label not in own.labels:
        raise UsageError(
            f"--alert {label}: must be one of {', '.join(own.labels)}", option="--alert"
        )
    at = own.labels.index(label)
    p, is_true = own.probabilities[:, at], own.truth == at
    order = np.argsort(-p, kind="stable")
    weight = own.weight[order]
    reached = np.cumsum(weight * is_true[order]) / np.cumsum(weight)
    # Segments of equal probability are above a threshold together.
    last = np.r_[p[order][1:] != p[order][:-1], True]
    enough = np.arange(len(p)) >= FEW - 1
    fine = np.flatnonzero((reached >= precision) & last & enough)
    if not len(fine):
        return None
    n, true = int(fine[-1]) + 1, own.weight * is_true
    return {
        "label": label,
        "threshold": float(p[order[n - 1]]),
        "precision": float(reached[n - 1]),
        "recall": float(true[order[:n]].sum() / true.sum()),
        "segments_above": n,
    }

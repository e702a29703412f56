"""What labelled segments correct: shares, and thresholds of alerts."""

from collections.abc import Collection
from typing import Any

import numpy as np

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.labelled import FEW, Judged

N_BOOTSTRAP = 1000
LIMITS = (2.5, 97.5)
ONE_SIDED = 0.8416
"""The quantile of the normal distribution for a one-sided interval of 80 %."""


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
    weight = own.weight * own.duration_s  # shares are shares of speech time
    for column, value in enumerate(
        (weight * p * is_true, weight * is_true,
         weight * p * ~is_true, weight * ~is_true)
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

    It is reached if the lower end of its one-sided 80 % interval is (Wilson 1927, with
    the effective number of segments): on a hundred labels, the threshold at which just
    as many are right is mostly due to chance.

    Returns:
        The threshold, and what holds above it: the precision, its lower bound, the
        recall, and the number of labelled segments. None if no threshold reaches it
        with at least `FEW` segments above it.

    Raises:
        UsageError: there is no such label.
    """
    if label not in own.labels:
        raise UsageError(
            f"--alert {label}: must be one of {', '.join(own.labels)}", option="--alert"
        )
    at = own.labels.index(label)
    p = own.probabilities[:, at]
    order = np.argsort(-p, kind="stable")
    weight, share = own.weight[order], own.share[order]
    true = weight * (own.truth[order] == at)
    total = np.cumsum(weight)
    reached = np.cumsum(true) / total
    # Segments of equal probability are above a threshold together.
    is_last = np.r_[p[order][1:] != p[order][:-1], True]
    lowest = _wilson_low(reached, total**2 / np.cumsum(weight**2 / share))
    fine = is_last & (lowest >= precision) & (np.cumsum(share) >= FEW - 1e-9)
    if not (fine.any() and true.any()):
        return None
    last = int(np.flatnonzero(fine)[-1])
    return {
        "label": label,
        "threshold": float(p[order[last]]),
        "precision": float(reached[last]),
        "precision_at_least": float(lowest[last]),
        "recall": float(true[: last + 1].sum() / true.sum()),
        "segments_above": len(set(own.segment[order[: last + 1]])),
    }


def _wilson_low(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    middle = p + ONE_SIDED**2 / (2 * n)
    half = ONE_SIDED * np.sqrt(p * (1 - p) / n + ONE_SIDED**2 / (4 * n**2))
    low: np.ndarray = (middle - half) / (1 + ONE_SIDED**2 / n)
    return low

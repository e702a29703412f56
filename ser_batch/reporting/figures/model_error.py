"""Intervals of true shares that allow for the model's errors.

On an unseen corpus, the model gives a label the mean probability a where the label is
true, and b where it is not. A predicted share m then corresponds to the true share t
for which m = t a + (1 - t) b (Forman, Counting positives accurately despite inaccurate
classification, 2005; with probabilities instead of counts: Bella et al., Quantification
via probability estimators, 2010). Each corpus held out in training has its own a and b,
and therefore its own t. The interval spans them all, and the predicted share itself.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ser_batch.emotion.answers import DISTRESS
from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.measures import share_names

Interval = tuple[float, float]
RANKED = ("angry",)
BEYOND = 0.05
"""How far t may fall outside 0 to 1.

If every corpus gives a t further outside, none can account for the predicted share.
"""
ANYTHING = 0.9
"""An interval this wide is uninformative."""


def true_shares(
    total: Figures, labels: Sequence[str], record: Mapping[str, Any]
) -> dict[str, Interval]:
    """Return the intervals of anger and distress in `total`, if the corpora give any.

    Other labels have none, since the ranges from different corpora contradict each
    other.

    Args:
        total: the predicted shares.
        labels: the labels of the model.
        record: the run record of the last run; a damaged one gives no intervals.
    """
    names = share_names(labels)
    measures = {names[label]: {label} for label in RANKED if label in labels}
    measures["distress_share"] = set(DISTRESS)
    found = {}
    for name, positive in measures.items():
        stated = total[name].value
        if stated is None:
            continue
        try:
            answers = record["model"]["answers"]
            interval = true_share(stated, positive, answers, labels)
        except (AttributeError, TypeError, ValueError, LookupError):
            return {}
        if interval is not None:
            found[name] = interval
    return found


def true_share(
    stated: float,
    positive: Collection[str],
    answers: Mapping[str, Mapping[str, Sequence[float]]],
    labels: Sequence[str],
) -> Interval | None:
    """Return the lowest and highest true share compatible with a predicted share.

    Args:
        stated: the predicted share.
        positive: the labels that make up the share.
        answers: by corpus and true label, the mean probability of every label. The
            labels of a corpus are weighted equally.
        labels: the labels of the model, in the order of the probabilities.

    Returns:
        The interval, or None if no corpus has both speech of these labels and of
        others, or none can account for the share.

    >>> answers = {"x": {"angry": [0.8, 0.2], "calm": [0.3, 0.7]}}
    >>> low, high = true_share(0.55, {"angry"}, answers, ("angry", "calm"))
    >>> round(low, 3), round(high, 3)
    (0.5, 0.55)
    """
    columns = [i for i, label in enumerate(labels) if label in positive]
    shares: list[float] = []
    for by_truth in answers.values():
        means: dict[bool, list[float]] = {True: [], False: []}
        for label, p in by_truth.items():
            means[label in positive].append(float(np.asarray(p, float)[columns].sum()))
        if not (means[True] and means[False]):
            continue
        where, elsewhere = np.mean(means[True]), np.mean(means[False])
        if where <= elsewhere:  # the model does not detect these labels there
            return 0.0, 1.0
        shares.append(float((stated - elsewhere) / (where - elsewhere)))
    if not shares or max(shares) < -BEYOND or min(shares) > 1 + BEYOND:
        return None
    # The range includes the predicted share itself: it says how far off that may be.
    low, high = np.clip([min(stated, *shares), max(stated, *shares)], 0, 1)
    return float(low), float(high)


def error_notes(
    found: Mapping[str, Interval], total: Figures, labels: Sequence[str]
) -> list[str]:
    """Return notes that describe the intervals, beside the predicted shares."""
    names = {name: label for label, name in share_names(labels).items()}
    names["distress_share"] = "distress"
    told, unknown = [], []
    for measure, (low, high) in found.items():
        if high - low >= ANYTHING:
            unknown.append(names[measure])
        else:
            told.append(
                f"{names[measure]} {low:.0%} to {high:.0%} "
                f"(mean probability {total[measure].value:.0%})"
            )
    notes = []
    if told:
        notes.append(
            "shares are mean probabilities; corrected for how the model spreads them, "
            "and for its errors on speech unlike its training data, the true share "
            f"may be anywhere in these ranges: {', '.join(told)}"
        )
    if unknown:
        notes.append(
            f"allowing for the model's errors, the true share of {', '.join(unknown)} "
            "may be anything from 0% to 100%: compare such shares, but do not read "
            "them as counts"
        )
    return notes

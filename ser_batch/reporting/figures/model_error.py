"""What a share may truly be, once the model's errors are allowed for.

On a corpus that it has not heard, the model gives a label the mean probability a where
the label is true, and b where it is not. A stated share m then stands for the true share
t for which m = t a + (1 - t) b (Forman, Counting positives accurately despite inaccurate
classification, 2005; with probabilities in place of counts: Bella et al., Quantification
via probability estimators, 2010). Every corpus that was left out in training has its own
a and b, and gives its own t: the interval spans them all.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ser_batch.reporting.figures.calls import DISTRESS
from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.measures import share_names

Interval = tuple[float, float]
RANKED = ("angry",)
BEYOND = 0.05
"""A stated share further than this outside what any true share would give, on every
corpus, is one that the corpora cannot account for."""
ANYTHING = 0.9
"""An interval this wide says nothing."""


def true_shares(
    total: Figures, labels: Sequence[str], record: Mapping[str, Any]
) -> dict[str, Interval]:
    """Return the intervals of anger and distress in `total`, if the corpora can tell.

    Of other labels the corpora say too little: their ranges contradict each other.

    `record` is that of the last run; a damaged one tells nothing.
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
    """Return the lowest and the highest share that a stated one may stand for.

    `positive` are the labels that make up the share; `answers`, by corpus and true label,
    the mean probability of every label. None where no corpus has both
    speech of these labels and speech of others, or none can account for the share. Labels of a corpus count alike.

    >>> heard = {"x": {"angry": [0.8, 0.2], "calm": [0.3, 0.7]}}
    >>> low, high = true_share(0.55, {"angry"}, heard, ("angry", "calm"))
    >>> round(low, 3), round(high, 3)
    (0.5, 0.5)
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
        if where <= elsewhere:  # the model cannot hear these labels there
            return 0.0, 1.0
        shares.append(float((stated - elsewhere) / (where - elsewhere)))
    if not shares or max(shares) < -BEYOND or min(shares) > 1 + BEYOND:
        return None
    low, high = np.clip([min(shares), max(shares)], 0, 1)
    return float(low), float(high)


def error_notes(found: Mapping[str, Interval], labels: Sequence[str]) -> list[str]:
    """Return what intervals say, in words."""
    names = {name: label for label, name in share_names(labels).items()}
    names["distress_share"] = "distress"
    told, unknown = [], []
    for measure, (low, high) in found.items():
        if high - low >= ANYTHING:
            unknown.append(names[measure])
        else:
            told.append(f"{names[measure]} {low:.0%} to {high:.0%}")
    notes = []
    if told:
        notes.append(
            "allowing for the model's errors on speech unlike that of its training, the "
            f"true shares lie anywhere in these ranges: {', '.join(told)}"
        )
    if unknown:
        notes.append(
            f"the model's errors leave the true share of {', '.join(unknown)} open, "
            "anywhere from none to all: compare such shares, do not read them as counts"
        )
    return notes

"""What labellers agree on: the label of each clip, and how far they can be trusted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import krippendorff
import numpy as np
import pandas as pd

from ser_batch.labelling.answers import Answer, answer_files
from ser_batch.labelling.folder import Labelling

N_BOOTSTRAP = 1000
LIMITS = (2.5, 97.5)


@dataclass(frozen=True)
class Labels:
    """The answers of all labellers.

    `of` has a row for each clip of the folder and a column for each labeller: a label,
    or null where there is none.
    """

    answers: Mapping[str, Mapping[str, Answer]]
    """By labeller and clip; answers to clips that the folder lacks are left out."""
    of: pd.DataFrame
    unknown: int
    """Answers to clips that the folder lacks."""

    @property
    def unusable(self) -> set[str]:
        """The clips that somebody found not to be used."""
        return {
            clip
            for own in self.answers.values()
            for clip, answer in own.items()
            if answer.unusable
        }

    def shares(self, labels: Sequence[str]) -> np.ndarray:
        """Return the share of each label in the answers to each clip.

        Clips without a label, and those that somebody found not to be used, have none.

        Shape:
            (clips, labels), in the order of `of`.
        """
        counts = np.stack([(self.of == label).sum(axis=1) for label in labels], axis=1)
        counts[self.of.index.isin(list(self.unusable))] = 0
        total = counts.sum(axis=1, keepdims=True)
        return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)

    def agreed(self) -> pd.Series:
        """Return the label of each clip: what most labellers answered, else null.

        Clips that somebody found not to be used have none.
        """
        return pd.Series(
            [
                None if clip in self.unusable else _majority(row.dropna())
                for clip, row in self.of.iterrows()
            ],
            index=self.of.index,
            dtype=object,
        )


def read_labels(labelling: Labelling) -> Labels:
    """Return the answers of all labellers of a folder.

    Raises:
        UsageError: a file of answers is damaged.
    """
    clips = list(labelling.segments["clip"])
    known = set(clips)
    answers, unknown = {}, 0
    for file in answer_files(labelling.folder):
        read = file.read()
        answers[file.labeller] = {c: a for c, a in read.items() if c in known}
        unknown += len(read) - len(answers[file.labeller])
    of = pd.DataFrame(
        {
            name: [own[clip].label if clip in own else None for clip in clips]
            for name, own in answers.items()
        },
        index=clips,
        dtype=object,
    )
    return Labels(answers, of, unknown)


def alpha(
    of: pd.DataFrame, labels: Sequence[str], recordings: Sequence[str], seed: int = 0
) -> tuple[float, float, float] | None:
    """Return Krippendorff's alpha of the labels, and its 95 % interval.

    Alpha is 1 if labellers always agree, 0 if they do as often as by chance
    (Krippendorff 2011, Computing Krippendorff's alpha-reliability). The interval is a
    percentile bootstrap over recordings.

    Returns:
        None if no clip has two labels, or all labels are the same.
    """
    number = {label: float(i) for i, label in enumerate(labels)}
    values = np.array(
        [[number.get(label, np.nan) for label in row] for row in of.to_numpy()], float
    )
    values = values.reshape(of.shape)
    shared = (~np.isnan(values)).sum(axis=1) > 1
    values, of_recording = values[shared], np.asarray(recordings)[shared]
    measured = _alpha(values)
    if measured is None:
        return None
    names, unit = np.unique(of_recording, return_inverse=True)
    rows = [np.flatnonzero(unit == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = [
        _alpha(values[np.concatenate([rows[i] for i in draw])])
        for draw in rng.integers(len(rows), size=(N_BOOTSTRAP, len(rows)))
    ]
    known = [value for value in drawn if value is not None]
    low, high = np.percentile(known, LIMITS) if known else (np.nan, np.nan)
    return measured, float(low), float(high)


def alphas(
    of: pd.DataFrame, labels: Sequence[str], recordings: Sequence[str]
) -> dict[str, tuple[float, float, float] | None]:
    """Return alpha for each label against all others; see `alpha`."""
    return {
        label: alpha(
            of.map(lambda own, label=label: own and str(own == label)),
            ("False", "True"),
            recordings,
        )
        for label in labels
    }


def confusions(of: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return how often one labeller answered a row's label, and another a column's.

    Shape:
        (labels, labels), symmetric.
    """
    number = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for row in of.to_numpy():
        given = [number[label] for label in row if label in number]
        for one, other in permutations(given, 2):
            counts[one, other] += 1
    return counts


def _alpha(values: np.ndarray) -> float | None:
    """Return alpha of labels by clip and labeller; None if it is not defined."""
    if len(np.unique(values[~np.isnan(values)])) < 2:
        return None
    return float(krippendorff.alpha(values.T, level_of_measurement="nominal"))


def _majority(labels: pd.Series) -> str | None:
    ranked = Counter(labels).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return str(ranked[0][0])

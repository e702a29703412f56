"""What labellers agree on: the label of each clip, and how far they can be trusted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import krippendorff
import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ser_batch.labelling.answers import Answer, answer_files
from ser_batch.labelling.folder import Labelling

N_BOOTSTRAP = 1000
LIMITS = (2.5, 97.5)
LEAST_RECORDINGS = 5


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
    """Answers to clips, or with labels, that the folder lacks."""

    @property
    def answered(self) -> set[str]:
        """The clips that somebody has answered, if only to skip them."""
        return {clip for own in self.answers.values() for clip in own}

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
        counts = counts_of(self.of, labels)
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
    known, offered = set(clips), {None, *labelling.record.labels}
    answers, unknown = {}, 0
    for file in answer_files(labelling.folder):
        read = file.read()
        answers[file.labeller] = {
            clip: answer
            for clip, answer in read.items()
            if clip in known and answer.label in offered
        }
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


def counts_of(of: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return how many labellers gave each label to each clip.

    Shape:
        (clips, labels)
    """
    return np.stack([(of == label).sum(axis=1) for label in labels], axis=1)


def alpha(
    counts: Int[np.ndarray, "clips labels"], recordings: Sequence[str], seed: int = 0
) -> tuple[float, tuple[float, float] | None] | None:
    """Return Krippendorff's alpha of labels, and its 95 % interval.

    Alpha is 1 if labellers always agree, 0 if they do as often as by chance
    (Krippendorff 2011, Computing Krippendorff's alpha-reliability). The interval is a
    percentile bootstrap over recordings, of which there must be `LEAST_RECORDINGS`.

    Args:
        counts: how many labellers gave each label to each clip.
        recordings: the recording of each clip.
        seed: of the bootstrap.

    Returns:
        None if no clip has two labels, or all labels are the same.
    """
    shared = counts.sum(axis=1) > 1
    own, of_recording = counts[shared], np.asarray(recordings)[shared]
    if (own.sum(axis=0) > 0).sum() < 2:
        return None
    measured = float(
        krippendorff.alpha(value_counts=own, level_of_measurement="nominal")
    )
    names, unit = np.unique(of_recording, return_inverse=True)
    if len(names) < LEAST_RECORDINGS:
        return measured, None
    of_unit = np.zeros((len(names), counts.shape[1], counts.shape[1]))
    np.add.at(of_unit, unit, _pairs(own) / (own.sum(axis=1) - 1)[:, None, None])
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), [1 / len(names)] * len(names), N_BOOTSTRAP)
    drawn = alpha_of(np.tensordot(times, of_unit, 1))
    low, high = np.nanpercentile(drawn, LIMITS)
    return measured, (float(low), float(high))


def alpha_of(coincidences: Float[np.ndarray, "*n labels labels"]) -> np.ndarray:
    """Return alpha from the sums of coincidences; NaN where it is not defined."""
    n = coincidences.sum(axis=(-2, -1))
    of_label = coincidences.sum(axis=-1)
    disagreed = n - coincidences.trace(axis1=-2, axis2=-1)
    expected = n**2 - (of_label**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * disagreed / expected, np.nan)


def alphas(
    counts: Int[np.ndarray, "clips labels"], recordings: Sequence[str]
) -> list[tuple[float, tuple[float, float] | None] | None]:
    """Return alpha for each label against all others; see `alpha`."""
    total = counts.sum(axis=1)
    return [alpha(np.stack([own, total - own], axis=1), recordings) for own in counts.T]


def confusions(
    counts: Int[np.ndarray, "clips labels"],
    weight: Float[np.ndarray, " clips"] | None = None,
) -> Float[np.ndarray, "labels labels"]:
    """Return how often one labeller answered a row's label, and another a column's.

    The result is symmetric; a clip may have a weight.
    """
    pairs = _pairs(counts)
    if weight is not None:
        pairs = pairs * weight[:, None, None]
    summed: np.ndarray = pairs.sum(axis=0)
    return summed


def _pairs(counts: np.ndarray) -> np.ndarray:
    """Return the ordered pairs of answers to each clip, by their labels."""
    own = np.eye(counts.shape[1]) * counts[:, :, None]
    pairs: np.ndarray = counts[:, :, None] * counts[:, None, :] - own
    return pairs


def _majority(labels: pd.Series) -> str | None:
    ranked = Counter(labels).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return str(ranked[0][0])

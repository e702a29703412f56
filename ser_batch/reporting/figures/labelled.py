"""How good a model is on a centre's own calls, by what labellers heard.

Only segments drawn at random count, each weighted by the inverse of its inclusion
probability, so that the figures hold for all segments (Hajek 1971). Where labellers
differ, each label counts by the share of the answers that it has: segments on which
they agree are easier than others. The units of the intervals are recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import Labels
from ser_batch.labelling.folder import SAME, Labelling

FEW = 5
"""With fewer segments of a label, nothing is said of it."""


@dataclass(frozen=True)
class Judged:
    """Labels of segments, and what a model predicts for each.

    A segment on which labellers differ has an entry for each of its labels.

    Shape:
        segment, truth, share, weight, duration_s, kept, recording: (entries)
        probabilities: (entries, labels)
    """

    labels: tuple[str, ...]
    segment: np.ndarray
    """The number of the segment."""
    truth: np.ndarray
    """The index of a label that it was given."""
    share: Float[np.ndarray, " entries"]
    """The share of its answers that have this label."""
    probabilities: Float[np.ndarray, "entries labels"]
    weight: Float[np.ndarray, " entries"]
    """The share, over the segment's inclusion probability."""
    duration_s: Float[np.ndarray, " entries"]
    kept: Bool[np.ndarray, " entries"]
    """Where the model does not abstain."""
    recording: np.ndarray

    def of(self, used: np.ndarray) -> "Judged":
        """Return some of the entries."""
        return Judged(
            self.labels, self.segment[used], self.truth[used], self.share[used],
            self.probabilities[used], self.weight[used], self.duration_s[used],
            self.kept[used], self.recording[used],
        )  # fmt: skip

    @property
    def answers(self) -> np.ndarray:
        """The indices of the most probable labels."""
        answers: np.ndarray = self.probabilities.argmax(axis=1)
        return answers


def judged(
    labelling: Labelling,
    labels: Labels,
    probabilities: Float[np.ndarray, "clips labels"],
    kept: Bool[np.ndarray, " clips"],
    model_labels: Sequence[str],
    usable: Bool[np.ndarray, " clips"] | None = None,
) -> Judged:
    """Return the segments drawn at random that have a label.

    Args:
        labelling: the folder of segments.
        labels: what labellers answered.
        probabilities: a model's, of each segment of the folder.
        kept: where it does not abstain.
        model_labels: in the order of the probabilities.
        usable: the segments to consider; all by default.

    Raises:
        UsageError: no segment that was drawn at random has a label.
    """
    segments, names = labelling.segments, labelling.record.labels
    shares = labels.shares(names)
    inclusion = labelling.inclusion(labels.answered)
    shares[np.isnan(inclusion)] = 0
    has_labels = shares.any()
    if usable is not None:
        shares[~usable] = 0
    segment, truth = np.nonzero(shares)
    if has_labels and not len(segment):
        raise UsageError(
            f"{labelling.folder}: none of the labelled segments is among these",
            path=labelling.folder,
        )
    if not len(segment):
        raise UsageError(
            f"{labelling.folder}: no segment that was drawn at random has a label yet; "
            f"give some with `ser label serve {labelling.folder} --labeller NAME`",
            path=labelling.folder,
        )
    share = shares[segment, truth]
    return Judged(
        names,
        segment,
        truth,
        share,
        merged(probabilities, model_labels, names)[segment],
        share / inclusion[segment],
        (segments.end_s - segments.start_s).to_numpy()[segment],
        kept[segment],
        segments.recording_id.to_numpy()[segment],
    )


def merged(
    probabilities: Float[np.ndarray, "n model_labels"],
    model_labels: Sequence[str],
    labels: Sequence[str],
) -> Float[np.ndarray, "n labels"]:
    """Return the probabilities of the labels that labellers choose from.

    They are 0 for those that the model lacks.

    Raises:
        UsageError: it lacks all of them.
    """
    lacking = missing(model_labels, labels)
    if len(lacking) == len(labels):
        raise UsageError(
            f"the model has none of the labels that labellers chose from: "
            f"{', '.join(labels)}"
        )
    summed = np.zeros((len(probabilities), len(labels)))
    number = {label: i for i, label in enumerate(labels)}
    for i, label in enumerate(model_labels):
        at = number.get(label, number.get(SAME.get(label, "")))
        if at is not None:
            summed[:, at] += probabilities[:, i]
    return summed


def missing(model_labels: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the labels that labellers choose from, and the model never gives."""
    known = {*model_labels, *(SAME.get(label) for label in model_labels)}
    return [label for label in labels if label not in known]

"""Labelled segments, as the last layer of a network sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from ser_batch.emotion.answers import certainty
from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import Labels
from ser_batch.labelling.folder import SAME, Labelling
from ser_batch.reporting.figures.labelled import Judged, judged, missing
from ser_batch.reporting.figures.labelled_figures import uar_of
from ser_batch.training.adapting.heads import Described, Head, fit_head
from ser_batch.training.adapting.learners import Fitted, Learner, ProfiledLearner
from ser_batch.training.adapting.mixing import heard_of_labels
from ser_batch.training.adapting.tuning import DECAY, Heard, fine_tuned

LEAST_LABELS, LEAST_RECORDINGS = 20, 5


@dataclass(frozen=True)
class Problem:
    """Labelled segments, as the last layer sees them."""

    head: Head
    own: Described
    rows: Int[np.ndarray, " segments"]
    """Which segments of the folder they are."""
    shares: Float[np.ndarray, "segments offered"]
    recordings: np.ndarray
    synonyms: torch.Tensor
    offered: tuple[str, ...]
    labelling: Labelling
    labels: Labels
    learner: Learner
    heard: Heard | None
    """The segments, and clips that are mixed in, for fine-tuning; None without it."""

    @staticmethod
    def of(
        learner: Learner,
        labelling: Labelling,
        labels: Labels,
        waveforms: Sequence[np.ndarray],
        mixed: Heard | None = None,
    ) -> "Problem":
        """Return the labelled segments of a folder, given the waveforms of all of them.

        Clips of corpora are `mixed` in when a network is fine-tuned.

        Raises:
            UsageError: there are too few labels, or they are all the same.
        """
        offered = labelling.record.labels
        shares = labels.shares(offered)
        rows = np.flatnonzero(shares.any(axis=1))
        recordings = labelling.segments.recording_id.to_numpy()[rows]
        _check(labelling, shares[rows], recordings)
        if len(missing(learner.labels, offered)) == len(offered):
            raise UsageError(
                f"{labelling.folder}: the model has none of the labels that labellers "
                f"chose from: {', '.join(offered)}"
            )
        roles = list(labelling.segments.role.fillna(""))
        spoken = [waveforms[int(i)] for i in rows], [roles[int(i)] for i in rows]
        pooled, arousal = learner.described(*spoken)
        right, synonyms = _right(shares[rows], offered, learner.labels)
        own = Described(pooled, right, arousal)
        heard = None
        if isinstance(learner, ProfiledLearner):
            heard = heard_of_labels(learner, *spoken, recordings, right)
            heard = heard.followed_by(mixed) if mixed is not None else heard
        return Problem(
            learner.head, own, rows, shares[rows], recordings, synonyms, offered,
            labelling, labels, learner, heard,
        )  # fmt: skip

    def fitted(self, decay: float | None, rows: np.ndarray) -> Fitted:
        """Return a head fitted to some of the segments."""
        if decay is None:
            return Fitted(self.head)
        own = self.own.of(torch.from_numpy(rows))
        return Fitted(fit_head(self.head, own, self.synonyms, decay))

    def tuned(self, rows: np.ndarray, seed: int) -> Fitted:
        """Return a network fine-tuned on some of the segments, and what is mixed in."""
        assert isinstance(self.learner, ProfiledLearner)
        assert self.heard is not None
        n = len(self.rows)
        network, head = fine_tuned(
            self.learner.bundle.modules()[0],
            self.fitted(DECAY, rows).head,
            self.heard,
            np.concatenate([rows, np.arange(n, len(self.heard.steps))]),
            n,
            self.synonyms,
            seed,
        )
        return Fitted(head, network)

    def probabilities(
        self, fitted: Fitted, rows: np.ndarray
    ) -> Float[np.ndarray, "rows labels"]:
        """Return the probabilities of some of the segments."""
        own = self.own
        if fitted.network is not None and self.heard is not None:
            own = self.heard.described(fitted.network)
        with torch.no_grad():
            return fitted.head.probabilities(own.of(torch.from_numpy(rows))).numpy()

    def judged(self, probabilities: np.ndarray) -> Judged:
        """Return the segments drawn at random, with a model's probabilities."""
        every = np.zeros((len(self.labelling.segments), probabilities.shape[1]))
        every[self.rows] = probabilities
        calibration = self.head.calibration
        kept = certainty(every, calibration.alike) >= calibration.abstain_below
        return judged(self.labelling, self.labels, every, kept, self.learner.labels)

    def uar(self, probabilities: np.ndarray) -> float:
        """Return the UAR on the segments drawn at random."""
        return uar_of(self.judged(probabilities))


def _check(labelling: Labelling, shares: np.ndarray, recordings: np.ndarray) -> None:
    n, of = len(shares), len(set(recordings))
    if n < LEAST_LABELS or of < LEAST_RECORDINGS:
        raise UsageError(
            f"{labelling.folder}: {n} labelled segments of {of} recordings; adapting "
            f"needs {LEAST_LABELS} of {LEAST_RECORDINGS} at least, and 200 or more to "
            "be worth it",
            path=labelling.folder,
        )
    if (shares.sum(axis=0) > 0).sum() < 2:
        raise UsageError(
            f"{labelling.folder}: all labels are the same: there is nothing to learn",
            path=labelling.folder,
        )


def _right(
    shares: np.ndarray, offered: Sequence[str], model_labels: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shares by label of the model, and which of its labels are one."""
    right = torch.zeros(len(shares), len(model_labels))
    n = len(model_labels)
    synonyms = torch.eye(n)
    for i, label in enumerate(model_labels):
        if label in offered:
            right[:, i] = torch.from_numpy(shares[:, list(offered).index(label)])
        elif (other := SAME.get(label)) in model_labels:
            synonyms[i, list(model_labels).index(str(other))] = 1
    return right, synonyms

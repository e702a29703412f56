"""The interface of models to the rest of the package: waveforms to probabilities."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float32

from ser_batch.emotion.answers import Answers
from ser_batch.emotion.pending import Flush, PendingSegment
from ser_batch.emotion.profile import Profile

if TYPE_CHECKING:
    import torch

DIMENSIONS = ("arousal", "valence", "dominance")
"""Columns of segments, from 0 to 1; null if the model does not estimate them."""
Waveform = Float32[np.ndarray, " samples"]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The scores of a batch."""

    keys: list[Any]
    probabilities: Float32[np.ndarray, "batch labels"]
    levels_dbfs: Float32[np.ndarray, " batch"]
    values: Mapping[str, Float32[np.ndarray, " batch"]] = field(default_factory=dict)
    """What else the model estimates, 0 to 1: `DIMENSIONS` of emotion, and
    `out_of_domain`, from like the training speech to unlike it."""
    errors: dict[Any, Exception] = field(default_factory=dict)
    """The errors of single segments, by key; their probabilities are meaningless."""


class ModelInfo(Protocol):
    """What a run needs to know of a model before there is anything to score."""

    @property
    def model_id(self) -> str:
        """Models with the same id give the same probabilities."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        ...

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        ...

    @property
    def answers(self) -> Answers:
        """Its answers on speech unlike the training speech, if they are known."""
        ...

    @property
    def takes_profile(self) -> bool:
        """Whether it can use the profile of the place that the recordings come from."""
        ...


class Scorer(Protocol):
    """A model on a device.

    `NetworkScorer` and `ProfiledScorer` run the built-in networks, `CheckpointScorer`
    runs checkpoints of transformers; `loading.load_scorer` chooses.
    """

    labels: tuple[str, ...]
    """In the order of the probabilities; none if it estimates dimensions only."""
    sample_rate: int
    """The sample rate of the waveforms, in Hz."""
    model_id: str
    """Models with the same id give the same probabilities."""
    licence: str
    abstain_below: float
    """The certainty below which the model gives no label (`calibration.certainty`)."""
    alike: tuple[int, ...]
    """Labels, by index, whose probabilities are summed for the certainty."""
    answers: Answers
    """Its answers on speech unlike the training speech; empty if they are not known."""
    device: "torch.device"
    takes_profile: bool
    """Whether it can use the profile of the place that the recordings come from."""
    needs_channel: bool
    """Whether a segment's scores depend on other speech in its channel."""

    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of one channel, each with its normalisation context."""
        ...

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments, batch by batch, in any order.

        `FLUSH` is yielded after everything before it.
        """
        ...

    def with_profile(self, profile: Profile | None) -> "Scorer":
        """Return the same model with the profile of a place; None for its own.

        Raises:
            UsageError: the model does not use a profile, or cannot use this one.
        """
        ...

    def profile_of(
        self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]
    ) -> Profile | None:
        """Return the profile of a place from a sample of its speech.

        None if the model does not use one. `speech` contains waveforms of segments, by
        role (empty for everyone) and by recording id.
        """
        ...

    def scored(self, waveforms: Sequence[Waveform]) -> ScoredBatch:
        """Return the scores of waveforms at `sample_rate`, each on its own."""
        ...

    def predict(self, waveforms: Sequence[Waveform]) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities alone."""
        ...

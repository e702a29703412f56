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

Waveform = Float32[np.ndarray, " samples"]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The scores of a batch."""

    keys: list[Any]
    probabilities: Float32[np.ndarray, "batch labels"]
    levels_dbfs: Float32[np.ndarray, " batch"]
    arousal: Float32[np.ndarray, " batch"] | None = None
    """0 to 1; None if the model does not estimate it."""
    out_of_domain: Float32[np.ndarray, " batch"] | None = None
    """0 (like the training speech) to 1 (unlike it); None if it is not estimated."""
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


class Scorer(Protocol):
    """A model on a device.

    `NetworkScorer` and `ProfiledScorer` run the built-in networks. A model of another
    kind, such as a transformers checkpoint, would be a third implementation, selected
    in `loading.load_scorer`.
    """

    labels: tuple[str, ...]
    """In the order of the probabilities."""
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

    def predict(self, waveforms: Sequence[Waveform]) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms at `sample_rate`, each on its own."""
        ...

"""What a model is to the rest of the house: waveforms in, probabilities out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float32

from ser_batch.emotion.batches import Flush, PendingSegment
from ser_batch.emotion.calibration import Answers
from ser_batch.emotion.profile import Profile

Waveform = Float32[np.ndarray, " samples"]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What a model says of a batch."""

    keys: list[Any]
    probabilities: Float32[np.ndarray, "batch labels"]
    levels_dbfs: Float32[np.ndarray, " batch"]
    arousal: Float32[np.ndarray, " batch"] | None = None
    """0 to 1, where the model says so."""
    out_of_domain: Float32[np.ndarray, " batch"] | None = None
    """0 like the speech of training to 1 unlike it, where the model says so."""
    errors: dict[Any, Exception] = field(default_factory=dict)
    """By key, what went wrong with single segments; their probabilities mean nothing."""


class Scorer(Protocol):
    """A model on a device.

    `NetworkScorer` and `ProfiledScorer` run networks of ours; a model of another kind,
    such as a checkpoint of transformers, would be a third implementation, chosen in
    `loading.load_scorer`.
    """

    labels: tuple[str, ...]
    """In the order of the probabilities."""
    sample_rate: int
    """Of the waveforms, in Hz."""
    model_id: str
    """Two models with one id give the same probabilities."""
    licence: str
    abstain_below: float
    """The certainty below which the model gives no label (`calibration.certainty`)."""
    alike: tuple[int, ...]
    """Labels, by number, whose probabilities are added up for that."""
    answers: Answers
    """What it says of speech unlike that of its training; empty where it is not known."""
    device: torch.device
    takes_profile: bool
    """Whether it can be told what is normal where recordings come from."""

    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of one channel, each with what it is normalised by."""
        ...

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments, batch by batch, in any order.

        `FLUSH` comes out once everything before it has.
        """
        ...

    def with_profile(self, profile: Profile | None) -> "Scorer":
        """Return the same model with the profile of a place; None for its own.

        Raises:
            UsageError: the model takes no profile, or not this one.
        """
        ...

    def profile_of(
        self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]
    ) -> Profile | None:
        """Return the profile of a place from a sample of its speech.

        None where the model takes none. `speech` are waveforms of segments by role
        (empty for everyone) and by recording id.
        """
        ...

    def predict(self, waveforms: Sequence[Waveform]) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms at `sample_rate`, each for itself."""
        ...

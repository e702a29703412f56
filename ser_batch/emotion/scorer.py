"""What a model is to the rest of the house: waveforms in, probabilities out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float32

from ser_batch.emotion.batches import Flush, PendingSegment


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What a model says of a batch."""

    keys: list[Any]
    probabilities: Float32[np.ndarray, "batch labels"]
    levels_dbfs: Float32[np.ndarray, " batch"]


class Scorer(Protocol):
    """A model on a device.

    `NetworkScorer` runs the network of a bundle; a model of another kind, such as a
    checkpoint of transformers, would be a second implementation.
    """

    labels: tuple[str, ...]
    """In the order of the probabilities."""
    sample_rate: int
    """Of the waveforms, in Hz."""
    model_id: str
    """Two models with one id give the same probabilities."""
    licence: str
    abstain_below: float
    """The confidence below which the model gives no label."""
    device: torch.device

    def with_context(self, segments: Sequence[PendingSegment]) -> list[PendingSegment]:
        """Return the segments of one channel, each with what it is normalised by."""
        ...

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments, batch by batch, in any order.

        `FLUSH` comes out once everything before it has.
        """
        ...

    def predict(
        self, waveforms: Sequence[Float32[np.ndarray, " samples"]]
    ) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms at `sample_rate`, each for itself."""
        ...

"""What scorers of our own networks share: batches, halving where memory is short."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import DataLoader

from ser_batch.emotion.batches import (
    FLUSH,
    Flush,
    PendingSegment,
    SegmentBatch,
    SegmentBatches,
    levels_dbfs,
)
from ser_batch.emotion.devices import DeviceMemoryError, memory_of
from ser_batch.emotion.scorer import ScoredBatch

PREDICTED_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says of a batch, on the CPU."""

    probabilities: Float[Tensor, "batch labels"]
    arousal: Float[Tensor, " batch"] | None = None
    out_of_domain: Float[Tensor, " batch"] | None = None

    def followed_by(self, other: "Scores") -> "Scores":
        """Return these scores and then the others."""

        def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        return Scores(
            torch.cat([self.probabilities, other.probabilities]),
            joined(self.arousal, other.arousal),
            joined(self.out_of_domain, other.out_of_domain),
        )


class BatchScorer(ABC):
    """A network on a device, fed with batches. See `Scorer`."""

    labels: tuple[str, ...]
    device: torch.device

    @abstractmethod
    def _scores(self, batch: SegmentBatch) -> Scores:
        """Score a batch, on the device, in inference mode."""

    @abstractmethod
    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of one channel, each with what it is normalised by."""

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments; on CUDA, batches are pinned."""
        cuda = self.device.type == "cuda"
        batches = SegmentBatches(stream, batch_size)
        for batch in DataLoader(batches, batch_size=None, pin_memory=cuda):
            if batch is FLUSH:
                yield FLUSH
                continue
            scores = self.scores(batch)
            yield ScoredBatch(
                batch.keys,
                scores.probabilities.numpy(),
                levels_dbfs(batch),
                None if scores.arousal is None else scores.arousal.numpy(),
                None if scores.out_of_domain is None else scores.out_of_domain.numpy(),
            )

    def predict(
        self, waveforms: Sequence[Float32[np.ndarray, " samples"]]
    ) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms, each scored for itself."""
        result = np.zeros((len(waveforms), len(self.labels)), np.float32)
        stream = (
            self.with_context([segment], None)[0]
            for segment in (
                PendingSegment(number, len(waveform), partial(np.asarray, waveform))
                for number, waveform in enumerate(waveforms)
            )
        )
        for scored in self.score(stream, PREDICTED_TOGETHER):
            if isinstance(scored, ScoredBatch):
                result[scored.keys] = scored.probabilities
        return result

    def scores(self, batch: SegmentBatch) -> Scores:
        """Return what the network says; a batch that is too large is halved.

        Raises:
            DeviceMemoryError: there is no memory for even one segment.
        """
        try:
            with memory_of(self.device), torch.inference_mode():
                return self._scores(batch)
        except DeviceMemoryError:
            if len(batch.keys) == 1:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        first, second = batch.halves()
        return self.scores(first).followed_by(self.scores(second))

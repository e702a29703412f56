"""What the scorers of built-in networks share: batches, halved if memory runs out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import DataLoader

from ser_batch.emotion.batches import (
    SegmentBatch,
    SegmentBatches,
    levels_dbfs,
)
from ser_batch.emotion.devices import memory_of
from ser_batch.emotion.pending import FLUSH, Flush, PendingSegment
from ser_batch.emotion.scorer import ScoredBatch
from ser_batch.errors import DeviceMemoryError

PREDICTED_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Scores:
    """The output of a network for a batch, on the CPU."""

    probabilities: Float[Tensor, "batch labels"]
    arousal: Float[Tensor, " batch"] | None = None
    out_of_domain: Float[Tensor, " batch"] | None = None

    def followed_by(self, other: "Scores") -> "Scores":
        """Return these scores followed by the others."""

        def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            if a is None and b is None:
                return None
            unknown = (torch.full((n,), torch.nan) for n in sizes)
            parts = [
                p if t is None else t for t, p in zip((a, b), unknown, strict=True)
            ]
            return torch.cat(parts)

        sizes = len(self.probabilities), len(other.probabilities)
        return Scores(
            torch.cat([self.probabilities, other.probabilities]),
            joined(self.arousal, other.arousal),
            joined(self.out_of_domain, other.out_of_domain),
        )


class BatchScorer(ABC):
    """A network on a device, fed with batches; see `Scorer`."""

    labels: tuple[str, ...]
    device: torch.device

    @abstractmethod
    def _scores(self, batch: SegmentBatch) -> Scores:
        """Score a batch, on the device, in inference mode."""

    @abstractmethod
    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of one channel, each with its normalisation context."""

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments; on CUDA, batches are in pinned memory."""
        cuda = self.device.type == "cuda"
        batches = SegmentBatches(stream, batch_size)
        for batch in DataLoader(batches, batch_size=None, pin_memory=cuda):
            if batch is FLUSH:
                yield FLUSH
                continue
            errors: dict[Any, Exception] = {}
            scores = self.scores(batch, errors)
            yield ScoredBatch(
                batch.keys,
                scores.probabilities.numpy(),
                levels_dbfs(batch),
                None if scores.arousal is None else scores.arousal.numpy(),
                None if scores.out_of_domain is None else scores.out_of_domain.numpy(),
                errors,
            )

    def predict(
        self, waveforms: Sequence[Float32[np.ndarray, " samples"]]
    ) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms, each scored on its own."""
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

    def scores(
        self, batch: SegmentBatch, errors: dict[Any, Exception] | None = None
    ) -> Scores:
        """Return the scores of a batch; a batch that fails is halved.

        With `errors`, the error of a single segment is stored there under its key.

        Raises:
            DeviceMemoryError: out of memory, even for one segment.
        """
        try:
            with memory_of(self.device), torch.inference_mode():
                return self._scores(batch)
        except DeviceMemoryError:
            if len(batch.keys) == 1:
                raise
        except Exception as error:
            if errors is None:
                raise
            if len(batch.keys) == 1:
                errors[batch.keys[0]] = error
                return Scores(torch.full((1, len(self.labels)), torch.nan))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        first, second = batch.halves()
        return self.scores(first, errors).followed_by(self.scores(second, errors))

"""What scorers share: batches, halved if memory runs out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

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
from ser_batch.emotion.profile import Profile
from ser_batch.emotion.scorer import ScoredBatch, Waveform
from ser_batch.errors import DeviceMemoryError, UsageError

PREDICTED_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Scores:
    """The output of a network for a batch, on the CPU; `values` as in `ScoredBatch`."""

    probabilities: Float[Tensor, "batch labels"]
    values: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)

    def followed_by(self, other: "Scores") -> "Scores":
        """Return these scores followed by the others."""
        parts = (self, other)

        def joined(name: str) -> Tensor:
            return torch.cat([part.value(name) for part in parts])

        return Scores(
            torch.cat([part.probabilities for part in parts]),
            {name: joined(name) for name in {**self.values, **other.values}},
        )

    def value(self, name: str) -> Float[Tensor, " batch"]:
        """Return a value; NaN where the segments could not be scored."""
        unknown = torch.full((len(self.probabilities),), torch.nan)
        return self.values.get(name, unknown)


class BatchScorer(ABC):
    """A network on a device, fed with batches; see `Scorer`."""

    labels: tuple[str, ...]
    model_id: str
    device: torch.device
    takes_profile = False
    needs_channel = False

    @abstractmethod
    def _scores(self, batch: SegmentBatch) -> Scores:
        """Score a batch, on the device, in inference mode."""

    @abstractmethod
    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of one channel, each with its normalisation context."""

    def with_profile(self, profile: Profile | None) -> Self:
        """Return this scorer.

        Raises:
            UsageError: there is a profile, which it does not use.
        """
        if profile is not None:
            raise UsageError(
                f"model {self.model_id} does not use profiles", option="--profile"
            )
        return self

    def profile_of(
        self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]
    ) -> Profile | None:
        """Return None: this model does not use a profile."""
        return None

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
                {name: value.numpy() for name, value in scores.values.items()},
                errors,
            )

    def scored(self, waveforms: Sequence[Waveform]) -> ScoredBatch:
        """Return the scores of waveforms, in their order, each scored on its own.

        An error of the model is raised as it is.
        """
        stream = (
            self.with_context([segment], None)[0]
            for segment in (
                PendingSegment(number, len(waveform), partial(np.asarray, waveform))
                for number, waveform in enumerate(waveforms)
            )
        )
        found = [
            batch
            for batch in self.score(stream, PREDICTED_TOGETHER)
            if isinstance(batch, ScoredBatch)
        ]
        if not found:
            nothing = np.zeros((0, len(self.labels)), np.float32)
            return ScoredBatch([], nothing, np.zeros(0, np.float32))
        for batch in found:
            for error in batch.errors.values():
                raise error
        order = np.argsort([key for batch in found for key in batch.keys])
        names = found[0].values
        return ScoredBatch(
            list(range(len(waveforms))),
            np.concatenate([batch.probabilities for batch in found])[order],
            np.concatenate([batch.levels_dbfs for batch in found])[order],
            {n: np.concatenate([b.values[n] for b in found])[order] for n in names},
        )

    def predict(self, waveforms: Sequence[Waveform]) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms, each scored on its own."""
        return self.scored(waveforms).probabilities

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

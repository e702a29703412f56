"""Segments packed into batches across recordings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import IterableDataset

from ser_batch.emotion.pending import FLUSH, Flush, PendingSegment

POOL = 1024
"""How many segments are sorted by length together, to keep padding in batches small."""
PADDING_STEP = 2048
"""Waveforms are padded to a multiple of this many samples.

With few distinct tensor shapes, the C library reuses freed memory, and memory does not
grow with the number of batches.
"""


@dataclass(frozen=True, slots=True)
class SegmentBatch:
    """Segments of similar length: `waveforms` zero-padded beyond `lengths`."""

    keys: list[Any]
    waveforms: Float[Tensor, "batch samples"]
    lengths: Int[Tensor, " batch"]
    context: Float[Tensor, "batch values"] | None

    def halves(self) -> tuple["SegmentBatch", "SegmentBatch"]:
        """Return the first and the second half."""
        n = len(self.keys) // 2
        return self._part(slice(None, n)), self._part(slice(n, None))

    def _part(self, rows: slice) -> "SegmentBatch":
        context = None if self.context is None else self.context[rows]
        waveforms, lengths = self.waveforms[rows], self.lengths[rows]
        return SegmentBatch(self.keys[rows], waveforms, lengths, context)

    def pin_memory(self) -> "SegmentBatch":
        """Return the same batch in pinned memory, from which a GPU copies quickly."""
        context = None if self.context is None else self.context.pin_memory()
        waveforms, lengths = self.waveforms.pin_memory(), self.lengths.pin_memory()
        return SegmentBatch(self.keys, waveforms, lengths, context)


class SegmentBatches(IterableDataset["SegmentBatch | Flush"]):
    """A stream of segments as batches of similar lengths.

    At `FLUSH`, all waiting segments are packed at once, and `FLUSH` is passed on.
    """

    def __init__(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> None:
        self._stream, self._batch_size = stream, batch_size

    def __iter__(self) -> Iterator[SegmentBatch | Flush]:
        pool: list[PendingSegment] = []
        for item in self._stream:
            if isinstance(item, PendingSegment):
                pool.append(item)
            if item is FLUSH or len(pool) == POOL:
                yield from self._packed(pool)
                pool = []
            if item is FLUSH:
                yield FLUSH
        yield from self._packed(pool)

    def _packed(self, pool: list[PendingSegment]) -> Iterator[SegmentBatch]:
        pool = sorted(pool, key=lambda segment: segment.n_samples)
        for start in range(0, len(pool), self._batch_size):
            segments = pool[start : start + self._batch_size]
            waveforms, lengths = padded([s.read() for s in segments], PADDING_STEP)
            known = [s.context for s in segments if s.context is not None]
            context = torch.stack(known) if len(known) == len(segments) else None
            keys = [s.key for s in segments]
            yield SegmentBatch(keys, waveforms, lengths, context)


def padded(
    waveforms: Sequence[np.ndarray], step: int = 1
) -> tuple[Float[Tensor, "batch samples"], Int[Tensor, " batch"]]:
    """Return zero-padded waveforms, and their lengths in samples.

    The common length is a multiple of `step`.
    """
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    longest = -(-int(lengths.max()) // step) * step
    batch = torch.zeros(len(waveforms), longest)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return batch, lengths


def levels_dbfs(batch: SegmentBatch) -> Float32[np.ndarray, " batch"]:
    """Return each segment's RMS level in dB below full scale, at least -120.

    A constant offset is not sound, and does not count.
    """
    # In float32, a mean square minus a squared mean would lose too much precision.
    waveforms = batch.waveforms.double()
    mean = waveforms.sum(-1) / batch.lengths
    power = waveforms.square().sum(-1) / batch.lengths - mean.square()
    return (10 * power.clamp(min=1e-12).log10()).float().numpy()

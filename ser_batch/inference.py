"""Stage two: segments to probabilities, in batches packed across recordings."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ser_batch.bundles import Bundle
from ser_batch.errors import UsageError
from ser_batch.features import sums

POOL_BATCHES = 16
"""Segments of this many batches are sorted by length together, so that a batch holds little padding."""

PADDING_STEP = 4096
"""Waveforms are padded to a multiple of this, in samples: with few shapes of tensors, the C library finds a
place for each new one where an old one was, and memory does not grow with the number of batches."""


@dataclass(frozen=True, slots=True)
class PendingSegment:
    """One segment on its way: `read` gives its samples when its turn comes; `context` is that of its speaker."""

    key: Any
    n_samples: int
    read: Callable[[], Float32[np.ndarray, " samples"]]
    context: Float32[Tensor, " sums"] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments of similar length: `waveforms` (batch, samples), padded with zeros behind `lengths`; the `context`
    (batch, sums) of each one's speaker, if the model uses any."""

    keys: list[Any]
    waveforms: Tensor
    lengths: Tensor
    context: Tensor | None

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first and the second half of it."""
        n = len(self.keys) // 2

        def part(rows: slice) -> Batch:
            context = self.context if self.context is None else self.context[rows]
            return Batch(self.keys[rows], self.waveforms[rows], self.lengths[rows], context)

        return part(slice(None, n)), part(slice(n, None))

    def pin_memory(self) -> "Batch":
        context = self.context if self.context is None else self.context.pin_memory()
        return Batch(self.keys, self.waveforms.pin_memory(), self.lengths.pin_memory(), context)


class SegmentBatches(IterableDataset):
    """Packs a stream of segments into batches by length.

    A None in the stream means that nothing more comes for now: what waits is packed at once.
    """

    def __init__(self, items: Iterable[PendingSegment | None], batch_size: int) -> None:
        self._items, self._batch_size = items, batch_size

    def __iter__(self) -> Iterator[Batch | None]:
        pool: list[PendingSegment] = []
        for item in self._items:
            if item is not None:
                pool.append(item)
            if item is None or len(pool) == POOL_BATCHES * self._batch_size:
                yield from self._packed(pool)
                pool = []
            if item is None:
                yield None
        yield from self._packed(pool)

    def _packed(self, pool: list[PendingSegment]) -> Iterator[Batch]:
        pool = sorted(pool, key=lambda item: item.n_samples)
        for start in range(0, len(pool), self._batch_size):
            items = pool[start : start + self._batch_size]
            waveforms = torch.zeros(len(items), -(-items[-1].n_samples // PADDING_STEP) * PADDING_STEP)
            for row, item in zip(waveforms, items, strict=True):
                row[: item.n_samples] = torch.from_numpy(item.read())
            known = [item.context for item in items if item.context is not None]
            context = torch.stack(known) if len(known) == len(items) else None
            yield Batch([i.key for i in items], waveforms, torch.tensor([i.n_samples for i in items]), context)


class Scorer:
    """A bundle on a device: waveforms at the bundle's sample rate to calibrated probabilities."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.device = resolve_device(device)
        features, network = bundle.modules()
        with _memory_of(self.device):
            self._features, self._network = features.to(self.device), network.to(self.device)

    def score(
        self, items: Iterable[PendingSegment | None], batch_size: int
    ) -> Iterator[tuple[list, np.ndarray, np.ndarray] | None]:
        """Keys, probabilities (batch, label) and loudness (batch) in dBFS, batch by batch; None as it came.

        On CUDA, batches are pinned and the network runs in mixed precision.
        """
        cuda = self.device.type == "cuda"
        loader = DataLoader(SegmentBatches(items, batch_size), batch_size=None, pin_memory=cuda)
        for batch in loader:
            if batch is None:
                yield None
            else:
                yield batch.keys, self.probabilities(batch).numpy(), loudness_dbfs(batch)

    def sums(self, wave: Float32[np.ndarray, " samples"]) -> Float32[Tensor, " sums"]:
        """What one stretch of speech adds to a speaker's context; see `features.sums`."""
        with _memory_of(self.device), torch.inference_mode():
            lengths = torch.tensor([len(wave)], device=self.device)
            return sums(*self._features.static(torch.from_numpy(wave)[None].to(self.device), lengths))[0].cpu()

    def probabilities(self, batch: Batch) -> Float[Tensor, "batch labels"]:
        """Calibrated probabilities of a batch, on the CPU; one that the device has no memory for is halved."""
        try:
            with _memory_of(self.device):
                return self._probabilities(batch)
        except DeviceMemoryError:
            if len(batch.keys) == 1:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self.probabilities(half) for half in batch.halves()])

    def _probabilities(self, batch: Batch) -> Float[Tensor, "batch labels"]:
        precision = torch.autocast("cuda", torch.float16) if self.device.type == "cuda" else nullcontext()
        with torch.inference_mode():
            waveforms = batch.waveforms.to(self.device, non_blocking=True)
            lengths = batch.lengths.to(self.device, non_blocking=True)
            context = None if batch.context is None else batch.context.to(self.device, non_blocking=True)
            features, frames = self._features(waveforms, lengths, context)
            with precision:
                logits = self._network(features, frames)
            return self.bundle.calibration.probabilities(logits).cpu()


class DeviceMemoryError(UsageError):
    """A device has no memory left."""


_SIGNS = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED", "could not create a primitive")
"""What the CPU's allocator, oneDNN and the libraries of CUDA say, for want of an exception of their own."""


@contextmanager
def _memory_of(device: torch.device) -> Iterator[None]:
    """Makes one error of the several by which torch says that memory has run out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        named = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not named and not any(words in str(error) for words in _SIGNS):
            raise
        raise DeviceMemoryError(
            f"{device}: has no memory left, not even for a single segment; free some"
            + (", or use --device cpu" if device.type == "cuda" else ", or use fewer --workers")
            + ". What is done is kept: run the same command again"
        ) from error


def loudness_dbfs(batch: Batch) -> Float32[np.ndarray, " batch"]:
    """The RMS level of each segment in dB below full scale, -120 at the least; what is constant in it is no sound."""
    waveforms = batch.waveforms.double()  # a mean square minus a squared mean: in float32 little would be left
    mean = waveforms.sum(-1) / batch.lengths
    power = waveforms.square().sum(-1) / batch.lengths - mean.square()
    return (10 * power.clamp(min=1e-12).log10()).float().numpy()


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for on this machine.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r}: choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices; try --device auto"
        )
    return device

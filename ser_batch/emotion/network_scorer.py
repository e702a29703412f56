"""The network of a bundle as a scorer: features, network, calibration, on one device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
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
from ser_batch.emotion.bundles import Bundle
from ser_batch.emotion.devices import DeviceMemoryError, memory_of, resolve_device
from ser_batch.emotion.features import feature_sums
from ser_batch.emotion.scorer import ScoredBatch

PREDICTED_TOGETHER = 32


class NetworkScorer:
    """A bundle on a device. See `Scorer` for what each method gives."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.labels, self.model_id = bundle.labels, bundle.model_id
        self.licence, self.sample_rate = bundle.licence, bundle.features.sample_rate
        self.abstain_below = bundle.calibration.abstain_below
        self.device = resolve_device(device)
        features, network = bundle.modules()
        with memory_of(self.device):
            self._features = features.to(self.device)
            self._network = network.to(self.device)

    def with_context(self, segments: Sequence[PendingSegment]) -> list[PendingSegment]:
        """Return the segments of a channel with the sums of its other first speech.

        The context is `context_s` of the channel's first speech, without the segment
        itself, whose own sums the features add.
        """
        left = round(self.bundle.features.context_s * self.sample_rate)
        if not left:
            return list(segments)
        first: list[Tensor] = []
        for segment in segments:
            if left <= 0:
                break
            first.append(self._sums(segment.read()[:left]))
            left -= segment.n_samples
        nothing = torch.zeros(1 + 2 * self.bundle.features.n_static)
        result = []
        for number, segment in enumerate(segments):
            rest = (sums for i, sums in enumerate(first) if i != number)
            result.append(replace(segment, context=sum(rest, nothing)))
        return result

    def _sums(
        self, waveform: Float32[np.ndarray, " samples"]
    ) -> Float32[Tensor, " sums"]:
        with memory_of(self.device), torch.inference_mode():
            lengths = torch.tensor([len(waveform)], device=self.device)
            batch = torch.from_numpy(waveform)[None].to(self.device)
            return feature_sums(*self._features.static(batch, lengths))[0].cpu()

    def score(
        self, stream: Iterable[PendingSegment | Flush], batch_size: int
    ) -> Iterator[ScoredBatch | Flush]:
        """Score a stream of segments.

        On CUDA, batches are pinned and the network runs in mixed precision.
        """
        cuda = self.device.type == "cuda"
        batches = SegmentBatches(stream, batch_size)
        for batch in DataLoader(batches, batch_size=None, pin_memory=cuda):
            if batch is FLUSH:
                yield FLUSH
            else:
                probabilities = self.probabilities(batch).numpy()
                yield ScoredBatch(batch.keys, probabilities, levels_dbfs(batch))

    def predict(
        self, waveforms: Sequence[Float32[np.ndarray, " samples"]]
    ) -> Float32[np.ndarray, "n labels"]:
        """Return the probabilities of waveforms, each scored for itself."""
        stream = [
            PendingSegment(number, len(waveform), partial(np.asarray, waveform))
            for number, waveform in enumerate(waveforms)
        ]
        result = np.zeros((len(waveforms), len(self.labels)), np.float32)
        for scored in self.score(stream, PREDICTED_TOGETHER):
            if isinstance(scored, ScoredBatch):
                result[scored.keys] = scored.probabilities
        return result

    def probabilities(self, batch: SegmentBatch) -> Float[Tensor, "batch labels"]:
        """Return calibrated probabilities, on the CPU.

        A batch that the device has no memory for is halved.

        Raises:
            DeviceMemoryError: there is no memory for even one segment.
        """
        try:
            with memory_of(self.device):
                return self._probabilities(batch)
        except DeviceMemoryError:
            if len(batch.keys) == 1:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self.probabilities(half) for half in batch.halves()])

    def _probabilities(self, batch: SegmentBatch) -> Float[Tensor, "batch labels"]:
        on_cuda = self.device.type == "cuda"
        precision = torch.autocast("cuda", torch.float16, enabled=on_cuda)
        with torch.inference_mode():
            features, frames = self._features(
                batch.waveforms.to(self.device, non_blocking=True),
                batch.lengths.to(self.device, non_blocking=True),
                None
                if batch.context is None
                else batch.context.to(self.device, non_blocking=True),
            )
            with precision:
                logits = self._network(features, frames)
            return self.bundle.calibration.probabilities(logits).cpu()

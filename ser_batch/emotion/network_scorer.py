"""The scorer for networks on features; the context is a channel's own first speech."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from ser_batch.emotion.batch_scorer import BatchScorer, Scores
from ser_batch.emotion.batches import SegmentBatch
from ser_batch.emotion.bundles import Bundle
from ser_batch.emotion.devices import memory_of, resolve_device
from ser_batch.emotion.features import feature_sums
from ser_batch.emotion.pending import PendingSegment


class NetworkScorer(BatchScorer):
    """Scores with a bundle of features and a network; see `Scorer` for the methods."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.labels, self.model_id = bundle.labels, bundle.model_id
        self.licence, self.sample_rate = bundle.licence, bundle.features.sample_rate
        self.abstain_below = bundle.calibration.abstain_below
        self.alike = bundle.calibration.alike
        self.answers = bundle.calibration.answers
        self.device = resolve_device(device)
        self.needs_channel = bundle.features.context_s > 0
        features, network = bundle.modules()
        with memory_of(self.device):
            self._features = features.to(self.device)
            self._network = network.to(self.device)

    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments of a channel with the feature sums of its first speech.

        The context is the first `context_s` of the channel's speech, without the
        segment itself: `Features` adds the segment's own sums.
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

    def _sums(self, waveform: Float32[ndarray, " samples"]) -> Float32[Tensor, " sums"]:
        with memory_of(self.device), torch.inference_mode():
            lengths = torch.tensor([len(waveform)], device=self.device)
            batch = torch.from_numpy(waveform)[None].to(self.device)
            return feature_sums(*self._features.static(batch, lengths))[0].cpu()

    def _scores(self, batch: SegmentBatch) -> Scores:
        context = batch.context
        if context is not None:
            context = context.to(self.device, non_blocking=True)
        features, frames = self._features(
            batch.waveforms.to(self.device, non_blocking=True),
            batch.lengths.to(self.device, non_blocking=True),
            context,
        )
        on_cuda = self.device.type == "cuda"
        with torch.autocast("cuda", torch.float16, enabled=on_cuda):
            logits = self._network(features, frames)
        return Scores(self.bundle.calibration.probabilities(logits).cpu())

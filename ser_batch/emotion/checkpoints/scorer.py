"""The scorer for checkpoints of transformers."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from ser_batch.emotion.batch_scorer import BatchScorer, Scores
from ser_batch.emotion.batches import SegmentBatch
from ser_batch.emotion.calibration import joined
from ser_batch.emotion.checkpoints.bundle import (
    CHECKPOINT,
    HEAD,
    CheckpointBundle,
)
from ser_batch.emotion.checkpoints.networks import Checkpoint, load_checkpoint
from ser_batch.emotion.devices import memory_of, resolve_device
from ser_batch.emotion.pending import PendingSegment
from ser_batch.emotion.scorer import Waveform
from ser_batch.errors import BundleError

SHORTEST_S = 0.1
"""Shorter waveforms are followed by silence: some networks have no output for them."""
DESCRIBED_TOGETHER = 16


class CheckpointScorer(BatchScorer):
    """Scores with a checkpoint; see `Scorer` for the methods."""

    def __init__(
        self,
        bundle: CheckpointBundle,
        device: str = "auto",
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Load the checkpoint of a bundle onto a device, unless it is given.

        Raises:
            BundleError: its files have changed, or cannot be loaded.
            UsageError: there is no such device.
        """
        if checkpoint is None:
            bundle.check_files()
            checkpoint = load_checkpoint(bundle.folder / CHECKPOINT)
        self.bundle = bundle
        self.labels, self.model_id = bundle.labels, bundle.model_id
        self.licence = bundle.licence
        self.abstain_below = bundle.calibration.abstain_below
        self.alike = bundle.calibration.alike
        self.answers = bundle.calibration.answers
        self.device = resolve_device(device)
        self.checkpoint = checkpoint
        self.sample_rate = self.checkpoint.sample_rate
        self._set_head()
        with memory_of(self.device):
            self.checkpoint.network.to(self.device)

    def _set_head(self) -> None:
        """Replace the last layer by that which was fitted to one's own labels."""
        path = self.bundle.folder / HEAD
        if not path.exists():
            return
        try:
            self.checkpoint.last_layer.load_state_dict(
                safetensors.torch.load_file(path)
            )
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            message = f"{path}: does not fit the checkpoint: {error}"
            raise BundleError(message, path=path) from error

    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments as they are."""
        return list(segments)

    def _scores(self, batch: SegmentBatch) -> Scores:
        lengths = batch.lengths.tolist()
        waveforms = [
            own[:n].numpy() for own, n in zip(batch.waveforms, lengths, strict=True)
        ]
        outputs = self.outputs(waveforms)
        if not self.labels:
            values = {
                name: outputs[:, i].clamp(0, 1)
                for i, name in enumerate(self.bundle.heard_as)
            }
            return Scores(outputs[:, :0], values)
        logits = joined(outputs, self.bundle.groups)
        return Scores(self.bundle.calibration.probabilities(logits))

    @torch.inference_mode()
    def outputs(self, waveforms: Sequence[Waveform]) -> Float[Tensor, "batch outputs"]:
        """Return the network's outputs, in float32 on the CPU.

        Those of a waveform that is too long are the mean over windows.
        """
        windows, owners = self._windows(waveforms)
        together = len(windows) if self.checkpoint.is_batched else 1
        found = torch.cat(
            [
                self._forward(windows[i : i + together])
                for i in range(0, len(windows), together)
            ]
        )
        return _averaged(found, owners, len(waveforms))

    def _windows(
        self, waveforms: Sequence[Waveform]
    ) -> tuple[list[Waveform], list[int]]:
        """Return equal windows of each waveform, and which each is of."""
        longest = round(self.checkpoint.longest_s * self.sample_rate)
        shortest = round(SHORTEST_S * self.sample_rate)
        windows, owners = [], []
        for number, waveform in enumerate(waveforms):
            padded = np.pad(waveform, (0, max(0, shortest - len(waveform))))
            parts = np.array_split(padded, math.ceil(len(padded) / longest))
            windows += parts
            owners += [number] * len(parts)
        return windows, owners

    def _forward(self, windows: Sequence[Waveform]) -> Float[Tensor, "batch outputs"]:
        inputs = self.checkpoint.extractor(
            list(windows),
            sampling_rate=self.sample_rate,
            return_tensors="pt",
            **self._padding(),
        )
        on_device = {
            name: value.to(self.device)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }
        on_cuda = self.device.type == "cuda"
        with torch.autocast("cuda", torch.float16, enabled=on_cuda):
            found: Tensor = self.checkpoint.network(**on_device).logits
        return found.float().cpu()

    def _padding(self) -> dict[str, bool]:
        """Return how the extractor has to pad; some always pad to one length."""
        if math.isfinite(self.checkpoint.input_s):
            return {}
        return {"padding": True, "return_attention_mask": self.checkpoint.is_batched}

    def described(self, waveforms: Sequence[Waveform]) -> Float[Tensor, "n pooled"]:
        """Return waveforms as the last layer sees them."""
        seen: list[Tensor] = []

        def keep(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0].float().cpu())

        hook = self.checkpoint.last_layer.register_forward_pre_hook(keep)
        found = []
        try:
            with memory_of(self.device):
                for own in _in_parts(waveforms, DESCRIBED_TOGETHER):
                    _, owners = self._windows(own)
                    seen.clear()
                    self.outputs(own)
                    found.append(_averaged(torch.cat(seen), owners, len(own)))
        finally:
            hook.remove()
        return torch.cat(found)


def _averaged(
    values: Float[Tensor, "windows values"], owners: Sequence[int], n: int
) -> Float[Tensor, "n values"]:
    """Return the mean over the windows of each of `n` waveforms."""
    owner = torch.tensor(owners)
    sums = torch.zeros(n, values.shape[1]).index_add_(0, owner, values)
    return sums / torch.bincount(owner, minlength=n)[:, None]


def _in_parts(waveforms: Sequence[Waveform], n: int) -> Iterator[Sequence[Waveform]]:
    return (waveforms[i : i + n] for i in range(0, len(waveforms), n))

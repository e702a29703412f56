"""One step of a training: what the network sees, what it loses, how fast it learns."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ser_batch.emotion.batches import padded
from ser_batch.emotion.features import Features, feature_sums
from ser_batch.emotion.network import CnnBiLstm
from ser_batch.training.data.batches import ClipBatch
from ser_batch.training.recipe import FitConfig

ONE_CYCLE_UP = 0.15


def cross_entropy(log_p: Tensor, right: Tensor, smoothing: float) -> Tensor:
    """The negative log-probability that the answer is right, where several answers may be; shape (..., batch).

    With one right answer this is the usual cross-entropy with label smoothing. Where a corpus leaves open
    which of two labels a clip has, either is as good: none of them is taught, and none is punished.
    """
    hit = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1)
    return (1 - smoothing) * hit - smoothing * log_p.mean(-1)


def network_inputs(
    features: Features, chunk: ClipBatch, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, frames and right labels of a chunk.

    Where features have a context, every second clip gets some of the others of its
    call, so that the network learns to do with much, little and none.
    """
    static, frames = features.static(
        chunk.waveforms.to(device, non_blocking=True),
        chunk.lengths.to(device, non_blocking=True),
    )
    context = None
    if features.config.context_s:
        n = len(frames)
        together = chunk.calls[:, None] == chunk.calls
        drawn = torch.rand(n, n) < torch.rand(n, 1)
        drawn &= together & ~torch.eye(n, dtype=torch.bool) & (torch.rand(n, 1) < 0.5)
        context = drawn.to(device, static.dtype) @ feature_sums(static, frames)
    x, frames = features.normalised(static, frames, context)
    return x, frames, chunk.right.to(device)


def step_loss(
    network: CnnBiLstm, x: Tensor, frames: Tensor, right: Tensor, fit: FitConfig
) -> Tensor:
    """Return the mean loss of a minibatch, with hidden frames and mixed pairs."""
    if fit.masked_frames:
        x = hide_frames(x, frames, network.feature_mean, fit.masked_frames)
    weight, partner = 1.0, None
    if fit.mixup and torch.rand(1).item() < 0.5:
        weight = float(torch.distributions.Beta(fit.mixup, fit.mixup).sample())
        partner = torch.randperm(len(x), device=x.device)
        x, frames = (
            weight * x + (1 - weight) * x[partner],
            torch.maximum(frames, frames[partner]),
        )
    with mixed_precision(x.device):
        log_p = network.member_log_probabilities(
            x[:, : int(frames.max())], frames
        ).float()
    loss = cross_entropy(log_p, right, fit.label_smoothing)
    if partner is not None:
        loss = weight * loss + (1 - weight) * cross_entropy(
            log_p, right[partner], fit.label_smoothing
        )
    return loss.mean()


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for training where the device computes in it; weights stay in float32."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def hide_frames(features: Tensor, frames: Tensor, mean: Tensor, longest: int) -> Tensor:
    """The features with two random stretches of each segment at their mean, at most half of it."""
    t = torch.arange(features.shape[1], device=features.device)
    for _ in range(2):
        length = torch.rand(len(frames), device=frames.device) * torch.minimum(
            frames / 4, frames.new_tensor(longest)
        )
        start = torch.rand(len(frames), device=frames.device) * (frames - length)
        hidden = (t >= start[:, None]) & (t < (start + length)[:, None])
        features = torch.where(hidden[..., None], mean, features)
    return features


def set_statistics(
    network: CnnBiLstm,
    features: Features,
    waves: Sequence[np.ndarray],
    device: torch.device,
    n: int = 512,
) -> None:
    """Sets the mean and deviation of every feature from evenly chosen training clips, bare of augmentation."""
    values = []
    with torch.inference_mode():
        for index in np.linspace(0, len(waves) - 1, min(n, len(waves))).astype(int):
            waveforms, lengths = padded([waves[index]])
            values.append(features(waveforms.to(device), lengths.to(device))[0][0])
    stacked = torch.cat(values)
    network.feature_mean.copy_(stacked.mean(0))
    network.feature_std.copy_(stacked.std(0).clamp(min=1e-3))


def rate_factor(done: float, fit: FitConfig) -> float:
    """The learning rate's factor when a share `done` of the training lies behind."""
    if fit.schedule == "one_cycle":
        if done < ONE_CYCLE_UP:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / ONE_CYCLE_UP))
        return (
            0.5
            * (
                1
                + math.cos(
                    math.pi * min(1.0, (done - ONE_CYCLE_UP) / (1 - ONE_CYCLE_UP))
                )
            )
            + 1e-4
        )
    if fit.schedule == "warm_restarts":
        epoch, length = done * fit.epochs, float(fit.restart_epochs)
        while epoch >= length:
            epoch, length = epoch - length, 2 * length
        return 0.5 * (1 + math.cos(math.pi * epoch / length))
    return 1.0

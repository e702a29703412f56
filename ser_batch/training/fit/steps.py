"""The parts of a training step: network inputs, loss and learning rate."""

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
"""Share of the steps in which the learning rate rises."""


def cross_entropy(log_p: Tensor, right: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy with label smoothing for sets of correct labels.

    The loss is the negative log-probability of the set of correct labels. With a single
    correct label it is the usual cross-entropy. Where a clip may have either of two
    labels, the loss favours neither of them.

    Shape:
        (..., batch).
    """
    hit = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1)
    return (1 - smoothing) * hit - smoothing * log_p.mean(-1)


def network_inputs(
    features: Features, chunk: ClipBatch, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features, numbers of frames and correct labels of a chunk.

    If the features use context, half of the clips, at random, get some of the other
    clips of their call, so that the network learns to work with any amount of context.
    """
    static, frames = features.static(
        chunk.waveforms.to(device, non_blocking=True),
        chunk.lengths.to(device, non_blocking=True),
    )
    context = None
    if features.config.context_s:
        n = len(frames)
        together = chunk.calls[:, None] == chunk.calls
        # Row by row another probability of each other clip of the call.
        drawn = torch.rand(n, n) < torch.rand(n, 1)
        drawn &= together & ~torch.eye(n, dtype=torch.bool) & (torch.rand(n, 1) < 0.5)
        context = drawn.to(device, static.dtype) @ feature_sums(static, frames)
    x, frames = features.normalised(static, frames, context)
    return x, frames, chunk.right.to(device)


def step_loss(
    network: CnnBiLstm, x: Tensor, frames: Tensor, right: Tensor, fit: FitConfig
) -> Tensor:
    """Return the mean loss of a minibatch, with time masking and mixup."""
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
    """Return an autocast to bfloat16, enabled where the device computes in it natively.

    Weights stay in float32.
    """
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def hide_frames(features: Tensor, frames: Tensor, mean: Tensor, longest: int) -> Tensor:
    """Replace two random stretches, at most half of each segment, by the mean."""
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
    """Set the mean and deviation of each feature from up to `n` training clips.

    The clips are evenly spaced in the list and not augmented.
    """
    values = []
    with torch.inference_mode():
        for index in np.linspace(0, len(waves) - 1, min(n, len(waves))).astype(int):
            waveforms, lengths = padded([waves[index]])
            values.append(features(waveforms.to(device), lengths.to(device))[0][0])
    stacked = torch.cat(values)
    network.feature_mean.copy_(stacked.mean(0))
    network.feature_std.copy_(stacked.std(0).clamp(min=1e-3))


def rate_factor(done: float, fit: FitConfig) -> float:
    """Return the factor on the learning rate after a share `done` of the training."""
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

"""Fits a network to utterances, epoch by epoch, with exact resume. Read `fit_network` first."""

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ser_batch.errors import UsageError
from ser_batch.features import Features, sums
from ser_batch.model import CnnBiLstm
from ser_batch.plain import to_plain
from ser_batch.training.data import Batch, Calls, epoch_calls, loader, padded
from ser_batch.training.recipe import FitConfig, Recipe

GRADIENT_NORM = 5.0
ONE_CYCLE_UP = 0.15
KINDS = ("data_s", "features_s", "network_s", "validation_s")
"""Of work, in the rows of a history."""


class DivergedError(UsageError):
    """A training whose loss is no number any more."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where a training tells how it goes: `batches` wraps an epoch's chunks, `epoch` gets each epoch's row."""

    batches: Callable[[Iterable[Batch], int], Iterable[Batch]] = lambda batches, n: batches
    epoch: Callable[[dict[str, float]], None] = lambda row: None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What comes of a training: modules ready for inference, and a row of figures for each epoch."""

    features: Features
    network: CnnBiLstm
    history: list[dict[str, float]] = field(repr=False)


def fit_network(
    recipe: Recipe,
    train: Calls,
    validate: Callable[[Features, CnnBiLstm], dict[str, float]],
    n_labels: int,
    seed: int,
    device: torch.device,
    workers: int,
    checkpoint: Path,
    identity: dict[str, Any],
    monitor: Monitor = Monitor(),
    initial: dict[str, Tensor] | None = None,
) -> Fitted:
    """Trains for the recipe's epochs, and returns the network of the epoch that it keeps.

    `validate` gives the `validation_...` figures of a network; `initial` are weights to start from (what they
    lack has its own start). After
    every epoch the whole state is written to `checkpoint`; a training that finds one there goes on from it,
    and ends (on the CPU) with the same weights as one that was never stopped. `identity` is what that
    training is told by: its recipe, seed, and fingerprints of its data.

    Raises:
        UsageError: the checkpoint belongs to another training, or the loss is no number any more.
    """
    fit = recipe.fit
    torch.manual_seed(seed)
    features = Features(recipe.features).to(device)
    network = CnnBiLstm(recipe.network, recipe.features.n_static, 1 + recipe.features.deltas, n_labels).to(device)
    if initial is None:
        set_statistics(network, features, [utterance.speech for utterance in train.utterances], device)
    else:
        network.load_state_dict(network.state_dict() | initial)
    decay = fit.average_decay
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[fit.optimizer](
        network.parameters(), fit.learning_rate, weight_decay=fit.weight_decay
    )
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"score": -1.0, "network": None}
    identity = to_plain(identity)
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["identity"] != identity:
            raise UsageError(
                f"{checkpoint} belongs to a training with another recipe, seed or data: repeat that one, choose "
                "another --out, or delete the file to start anew"
            )
        network.load_state_dict(state["network"])
        if average:
            average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = state["history"], state["best"]

    for epoch in range(len(history), fit.epochs):
        torch.manual_seed(hash((seed, epoch)) % 2**31)  # dropout's draws depend on the epoch alone
        chunks = epoch_calls(train.utterances, recipe.data, fit.batch_size, seed, epoch)
        clock = _Clock()
        losses, rate = [], 0.0
        network.train()
        batches = loader(train, chunks, workers, pin_memory=device.type == "cuda")
        for number, chunk in enumerate(monitor.batches(batches, len(chunks))):
            clock.lap("data_s")
            x, frames, right = _inputs(features, chunk, device)
            clock.lap("features_s")
            minibatches = torch.randperm(len(x)).split(fit.batch_size)
            for i, rows in enumerate(minibatches):
                if len(rows) == 1:
                    continue  # batch normalisation needs two
                # By the share of the training that is done, since chunks divide into batches unevenly.
                done = (epoch + (number + i / len(minibatches)) / len(chunks)) / fit.epochs
                rate = fit.learning_rate * rate_factor(done, fit)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                at = rows.to(device)
                loss = _step_loss(network, x[at], frames[at], right[at], fit)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
                optimizer.step()
                if average:
                    average.update_parameters(network)
                losses.append(loss.item())
            clock.lap("network_s")
        if not losses:
            raise UsageError("one clip is too few to train on: batches need two")
        if not math.isfinite(sum(losses)):
            raise DivergedError(f"epoch {epoch + 1}: the loss is {sum(losses)}; choose a smaller fit.learning_rate")
        kept: CnnBiLstm = average.module if average else network  # type: ignore[assignment]
        scores = validate(features, kept.eval())
        clock.lap("validation_s")
        row = {"epoch": epoch, "loss": float(np.mean(losses)), "rate": rate, **scores, **clock.laps}
        history.append(row)
        score = scores.get(
            {"best_accuracy": "validation_accuracy", "best_uar": "validation_uar"}.get(fit.keep, ""), epoch
        )
        if score > best["score"]:
            weights = {name: t.clone() for name, t in kept.state_dict().items()}
            best = {"score": float(score), "epoch": epoch, "network": weights}
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history, "best": best}
        save_state(checkpoint, state | {"identity": identity, "average": average.state_dict() if average else None})
        monitor.epoch(row)
    network.load_state_dict(best["network"])
    return Fitted(features, network.eval(), history)


def cross_entropy(log_p: Tensor, right: Tensor, smoothing: float) -> Tensor:
    """The negative log-probability that the answer is right, where several answers may be; shape (..., batch).

    With one right answer this is the usual cross-entropy with label smoothing. Where a corpus leaves open
    which of two labels a clip has, either is as good: none of them is taught, and none is punished.
    """
    hit = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1)
    return (1 - smoothing) * hit - smoothing * log_p.mean(-1)


def _inputs(features: Features, chunk: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Features, frames and right labels of a chunk; where features have a context, every second clip gets some of
    the others of its call, so that the network learns to do with much, little and none."""
    static, frames = features.static(
        chunk.waveforms.to(device, non_blocking=True), chunk.lengths.to(device, non_blocking=True)
    )
    context = None
    if features.config.context_s:
        n = len(frames)
        together = chunk.calls[:, None] == chunk.calls
        drawn = torch.rand(n, n) < torch.rand(n, 1)
        drawn &= together & ~torch.eye(n, dtype=torch.bool) & (torch.rand(n, 1) < 0.5)
        context = drawn.to(device, static.dtype) @ sums(static, frames)
    x, frames = features.normalised(static, frames, context)
    return x, frames, chunk.right.to(device)


def _step_loss(network: CnnBiLstm, x: Tensor, frames: Tensor, right: Tensor, fit: FitConfig) -> Tensor:
    if fit.masked_frames:
        x = hide_frames(x, frames, network.feature_mean, fit.masked_frames)
    weight, partner = 1.0, None
    if fit.mixup and torch.rand(1).item() < 0.5:
        weight = float(torch.distributions.Beta(fit.mixup, fit.mixup).sample())
        partner = torch.randperm(len(x), device=x.device)
        x, frames = weight * x + (1 - weight) * x[partner], torch.maximum(frames, frames[partner])
    with mixed_precision(x.device):
        log_p = network.member_log_probabilities(x[:, : int(frames.max())], frames).float()
    loss = cross_entropy(log_p, right, fit.label_smoothing)
    if partner is not None:
        loss = weight * loss + (1 - weight) * cross_entropy(log_p, right[partner], fit.label_smoothing)
    return loss.mean()


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for training where the device computes in it; weights stay in float32."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def hide_frames(features: Tensor, frames: Tensor, mean: Tensor, longest: int) -> Tensor:
    """The features with two random stretches of each segment at their mean, at most half of it."""
    t = torch.arange(features.shape[1], device=features.device)
    for _ in range(2):
        length = torch.rand(len(frames), device=frames.device) * torch.minimum(frames / 4, frames.new_tensor(longest))
        start = torch.rand(len(frames), device=frames.device) * (frames - length)
        hidden = (t >= start[:, None]) & (t < (start + length)[:, None])
        features = torch.where(hidden[..., None], mean, features)
    return features


def set_statistics(
    network: CnnBiLstm, features: Features, waves: Sequence[np.ndarray], device: torch.device, n: int = 512
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
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - ONE_CYCLE_UP) / (1 - ONE_CYCLE_UP)))) + 1e-4
    if fit.schedule == "warm_restarts":
        epoch, length = done * fit.epochs, float(fit.restart_epochs)
        while epoch >= length:
            epoch, length = epoch - length, 2 * length
        return 0.5 * (1 + math.cos(math.pi * epoch / length))
    return 1.0


class _Clock:
    """Seconds by kind of work."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] += now - self._last
        self._last = now


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a state whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: cannot be written ({error}); make room, and start the same training again"
        ) from error

"""Fitting of a network to utterances, epoch by epoch, with exact resume."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.features import Features
from ser_batch.emotion.network import CnnBiLstm
from ser_batch.errors import UsageError
from ser_batch.storage.local import LocalStorage
from ser_batch.training.data.batches import (
    ClipBatch,
    SimulatedCalls,
    epoch_calls,
    loader,
)
from ser_batch.training.fit.steps import (
    network_inputs,
    rate_factor,
    set_statistics,
    step_loss,
)
from ser_batch.training.recipe import Recipe

GRADIENT_NORM = 5.0
KINDS = ("data_s", "features_s", "network_s", "validation_s")
"""Kinds of work that are timed in each row of a history."""


class DivergedError(UsageError):
    """The loss of a training run is no longer finite."""


@dataclass(frozen=True, slots=True)
class FitJob:
    """The inputs of one training run, and the location of its checkpoint."""

    recipe: Recipe
    n_labels: int
    seed: int
    device: torch.device
    workers: int
    """Number of processes for augmentation."""
    checkpoint: Path
    """The file that the complete state is written to after every epoch."""
    identity: dict[str, Any]
    """Identifies the training run: recipe, seed and fingerprints of the data."""
    initial: dict[str, Tensor] | None = None
    """Weights to start from; any that are missing are initialised as usual."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """Callbacks that observe a training run.

    `batches` wraps the chunks of an epoch; `epoch` receives the row of each epoch.
    """

    batches: Callable[[Iterable[ClipBatch], int], Iterable[ClipBatch]] = (
        lambda batches, n: batches
    )
    epoch: Callable[[dict[str, float]], None] = lambda row: None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The modules, ready for inference, and one row of figures per epoch."""

    features: Features
    network: CnnBiLstm
    history: list[dict[str, float]] = field(repr=False)


Validate = Callable[[Features, CnnBiLstm], dict[str, float]]
"""Computes the `validation_...` figures of a network."""


def fit_network(
    job: FitJob,
    train: SimulatedCalls,
    validate: Validate,
    monitor: Monitor = Monitor(),
) -> Fitted:
    """Train for the recipe's epochs, and return the network of the epoch that it keeps.

    Training resumes from a checkpoint if there is one. On the CPU it then ends with the
    same weights as an uninterrupted run.

    Raises:
        UsageError: the checkpoint belongs to another training run, or the loss is no
            longer finite.
    """
    state = _State(job, train)
    state.resume()
    fit = job.recipe.fit
    for epoch in range(len(state.history), fit.epochs):
        # Seeded per epoch, so that dropout is the same after a resume.
        torch.manual_seed(hash((job.seed, epoch)) % 2**31)
        clock = _Clock()
        loss, rate = _train_epoch(state, train, epoch, clock, monitor)
        scores = validate(state.features, state.kept.eval())
        clock.lap("validation_s")
        row = {"epoch": epoch, "loss": loss, "rate": rate, **scores, **clock.laps}
        state.end_epoch(row)
        monitor.epoch(row)
    state.network.load_state_dict(state.best["network"])
    return Fitted(state.features, state.network.eval(), state.history)


class _State:
    """The mutable state of a training run, with its checkpointing."""

    def __init__(self, job: FitJob, train: SimulatedCalls) -> None:
        recipe, fit = job.recipe, job.recipe.fit
        torch.manual_seed(job.seed)
        self.job = job
        self.features = Features(recipe.features).to(job.device)
        self.network = CnnBiLstm(
            recipe.network,
            recipe.features.n_static,
            1 + recipe.features.deltas,
            job.n_labels,
        ).to(job.device)
        if job.initial is None:
            waves = [utterance.speech for utterance in train.utterances]
            set_statistics(self.network, self.features, waves, job.device)
        else:
            self.network.load_state_dict(self.network.state_dict() | job.initial)
        self.average = None
        if fit.average_decay:
            # Buffers too: the statistics of batch normalisation go with the weights.
            ema = get_ema_multi_avg_fn(fit.average_decay)
            self.average = AveragedModel(
                self.network, multi_avg_fn=ema, use_buffers=True
            )
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        self.optimizer = kinds[fit.optimizer](
            self.network.parameters(), fit.learning_rate, weight_decay=fit.weight_decay
        )
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"score": -1.0, "network": None}
        self._identity = to_plain(job.identity)

    @property
    def kept(self) -> CnnBiLstm:
        """The network whose weights are kept: the average if there is one."""
        return self.average.module if self.average else self.network  # type: ignore[return-value]

    def resume(self) -> None:
        """Resume from the checkpoint, if there is one."""
        path = self.job.checkpoint
        if not path.exists():
            return
        state = torch.load(path, map_location=self.job.device, weights_only=True)
        if state["identity"] != self._identity:
            raise UsageError(
                f"{path} belongs to a training run with another recipe, seed or data: "
                "repeat that run, choose another --out, or delete the file to start "
                "again",
                path=path,
            )
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best = state["history"], state["best"]

    def end_epoch(self, row: dict[str, float]) -> None:
        """Record an epoch and, if they are the best, its weights; save the state."""
        self.history.append(row)
        keys = {"best_accuracy": "validation_accuracy", "best_uar": "validation_uar"}
        score = row.get(keys.get(self.job.recipe.fit.keep, ""), row["epoch"])
        if score > self.best["score"]:
            weights = self.kept.state_dict()
            copy = {name: t.clone() for name, t in weights.items()}
            epoch = row["epoch"]
            self.best = {"score": float(score), "epoch": epoch, "network": copy}
        state = {
            "identity": self._identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
        }
        save_state(self.job.checkpoint, state)


def _train_epoch(
    state: _State, train: SimulatedCalls, epoch: int, clock: "_Clock", monitor: Monitor
) -> tuple[float, float]:
    """Train one epoch; return its mean loss and last learning rate.

    Raises:
        UsageError: there is only one clip, or the loss is no longer finite.
    """
    job, fit = state.job, state.job.recipe.fit
    chunks = epoch_calls(
        train.utterances, job.recipe.data, fit.batch_size, job.seed, epoch
    )
    losses, rate = [], 0.0
    state.network.train()
    pinned = job.device.type == "cuda"
    batches = loader(train, chunks, job.workers, pin_memory=pinned)
    for number, chunk in enumerate(monitor.batches(batches, len(chunks))):
        clock.lap("data_s")
        x, frames, right = network_inputs(state.features, chunk, job.device)
        clock.lap("features_s")
        minibatches = torch.randperm(len(x)).split(fit.batch_size)
        for i, rows in enumerate(minibatches):
            if len(rows) == 1:
                continue  # batch normalisation needs two clips
            # Progress by chunks: the number of batches per chunk varies.
            done = (number + i / len(minibatches)) / len(chunks)
            rate = fit.learning_rate * rate_factor((epoch + done) / fit.epochs, fit)
            at = rows.to(job.device)
            losses.append(_step(state, x[at], frames[at], right[at], rate))
        clock.lap("network_s")
    if not losses:
        raise UsageError("one clip is too few to train on: a batch needs two")
    if not math.isfinite(sum(losses)):
        raise DivergedError(
            f"epoch {epoch + 1}: the loss is {sum(losses)}; choose a smaller "
            "fit.learning_rate",
            option="fit.learning_rate",
        )
    return float(np.mean(losses)), rate


def _step(
    state: _State, x: Tensor, frames: Tensor, right: Tensor, rate: float
) -> float:
    """Take one optimiser step, and return its loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    loss = step_loss(state.network, x, frames, right, state.job.recipe.fit)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_NORM)
    state.optimizer.step()
    if state.average:
        state.average.update_parameters(state.network)
    return loss.item()


class _Clock:
    """Elapsed time by kind of work [s]."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] += now - self._last
        self._last = now


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with LocalStorage(path.parent).writing(path.name) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        # torch's writer raises RuntimeError on a full disk.
        raise UsageError(
            f"{path}: cannot be written ({error}); free some space, and run the same "
            "command again",
            path=path,
        ) from error

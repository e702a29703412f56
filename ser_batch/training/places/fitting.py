"""Fitting of one network to many places."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ser_batch.emotion.place import Statistics, normalised, statistics_of
from ser_batch.emotion.profiled_network import ProfiledNetwork
from ser_batch.training.fit.fitting import save_state
from ser_batch.training.places.bank import Bank
from ser_batch.training.places.draws import Drawable, draw
from ser_batch.training.places.spectral import augmented, cropped
from ser_batch.training.places_recipe import PlacesRecipe

STATE_STEPS = 250
"""Number of steps between checkpoints."""
POOLED_MOMENTUM = 0.02
"""Momentum of the running statistics of the pooled vectors."""
MARGIN = 0.05
"""Distance that arousal targets keep from 0 and 1."""


@dataclass(frozen=True)
class Learnable:
    """Labels and metadata of the segments of a bank."""

    drawable: Drawable
    right: Tensor
    """Which labels are correct, (segments, labels); none where only arousal is
    known."""
    arousal: Tensor
    """Arousal, (segments): 0 to 1, or NaN if unknown."""

    def usual(self, bank: Bank, use: np.ndarray) -> Statistics:
        """Return the feature statistics over the corpora of the segments `use`."""
        corpus = self.drawable.corpus[use]
        names = dict.fromkeys(corpus.tolist())
        return bank.usual([use[corpus == name] for name in names])


@dataclass(frozen=True)
class Fitted:
    """A network, and the feature statistics over the corpora that it was fitted to."""

    network: ProfiledNetwork
    usual: Statistics
    losses: list[float]
    """Smoothed loss, every `STATE_STEPS` steps."""


def fit_network_to_places(
    bank: Bank,
    data: Learnable,
    use: np.ndarray,
    recipe: PlacesRecipe,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Fitted:
    """Fit one network to the segments `use`.

    An interrupted fit resumes from `checkpoint` when called again with the same
    arguments.

    Raises:
        UsageError: the checkpoint cannot be written.
    """
    run = _Run(bank, data, use, recipe, seed, device, checkpoint)
    run.resume()
    while run.done < recipe.fit.steps:
        loss = run.step()
        if run.done % STATE_STEPS == 0 or run.done == recipe.fit.steps:
            run.losses.append(round(float(loss), 4))
            run.save()
        on_step(run.done, float(run.loss))
    return Fitted(run.average.eval(), run.usual, run.losses)


class _Run:
    def __init__(
        self,
        bank: Bank,
        data: Learnable,
        use: np.ndarray,
        recipe: PlacesRecipe,
        seed: int,
        device: torch.device,
        checkpoint: Path,
    ) -> None:
        torch.manual_seed(seed)
        self.bank, self.data, self.recipe = bank, data, recipe
        self.device, self.checkpoint = device, checkpoint
        self.right, self.arousal = data.right.to(device), data.arousal.to(device)
        self.usual = data.usual(bank, use)
        own = data.drawable
        drawable = Drawable(
            own.corpus[use],
            own.speaker[use],
            own.clip[use],
            own.kind[use],
            own.calm[use],
        )
        self.draws = draw(drawable, recipe.draws, recipe.fit.steps, seed)
        self.use = use
        self.identity = {
            "recipe": repr(recipe),
            "seed": seed,
            "clips": sorted({int(i) for i in own.clip[use]}),
        }
        self.network = ProfiledNetwork(recipe.network, data.right.shape[1]).to(device)
        # `to` makes the copied LSTM weights contiguous, as cuDNN requires.
        self.average = copy.deepcopy(self.network).to(device).eval()
        plain = [p for p in self.network.parameters() if p.ndim < 2]
        matrices = [p for p in self.network.parameters() if p.ndim >= 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.fit.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.fit.learning_rate,
            betas=(0.9, 0.99),
        )
        self.done = 0
        self.losses: list[float] = []
        self.loss = torch.zeros(())

    def resume(self) -> None:
        """Load the checkpoint, if it belongs to the same training run."""
        if not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            return
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.losses = state["done"], state["losses"]
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        cuda = self.device.type == "cuda"
        state: dict[str, Any] = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "losses": self.losses,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
        }
        save_state(self.checkpoint, state)

    def step(self) -> Tensor:
        """Take one step, and return the smoothed loss."""
        fit = self.recipe.fit
        for group in self.optimizer.param_groups:
            group["lr"] = fit.learning_rate * _rate(self.done / fit.steps, fit.warm_up)
        self.network.train()
        loss = self._loss(self.done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self._average(fit.average_decay)
        self.done += 1
        self.loss = (
            loss.detach() if self.done == 1 else self.loss.lerp(loss.detach(), 0.02)
        )
        return self.loss

    def _average(self, decay: float) -> None:
        with torch.no_grad():
            mine = self.network.state_dict().values()
            kept = self.average.state_dict().values()
            for old, new in zip(kept, mine, strict=True):
                old.lerp_(new, 1 - decay)

    def _loss(self, step: int) -> Tensor:
        recipe, draws = self.recipe, self.draws
        n_heard = recipe.draws.clips
        segment = self._numbers(self.use[draws.segment[step]])
        groups, n = segment.shape
        rendering = self._numbers(draws.rendering[step])
        share = self._numbers(draws.share[step])[:, None]
        with torch.no_grad():
            place = self.usual.towards(self._place(step, rendering), share)
            first = self.bank.first[segment] + rendering[:, None] * self.bank.n_frames
            frames, count = cropped(
                self.bank.features, first.flatten(),
                self.bank.count[segment].flatten(), recipe.fit.crop_frames,
                recipe.augmentation.tempo,
            )  # fmt: skip
            frames = augmented(frames, recipe.augmentation)
            each = Statistics(
                *(
                    values[:, None].expand(groups, n, -1).flatten(0, 1)
                    for values in (place.mean, place.variance)
                )
            )
            cepstra, side = normalised(frames, each)
        pooled = self.network.pooled(cepstra, side, count).view(groups, n, -1)
        heard, theirs = pooled[:, :n_heard], pooled[:, n_heard:]
        own = Statistics(theirs.mean(1), theirs.var(1))
        with torch.no_grad():
            self.network.place_mean.lerp_(own.mean.mean(0), POOLED_MOMENTUM)
            self.network.place_var.lerp_(own.variance.mean(0), POOLED_MOMENTUM)
        usual = self.network.own_place
        usual = Statistics(usual.mean.clone(), usual.variance.clone())
        told = usual.towards(own, share)
        told = Statistics(told.mean[:, None], told.variance[:, None])
        outputs = self.network.outputs(heard, told).flatten(0, 1)
        return self._objective(outputs, segment[:, :n_heard].flatten())

    def _objective(self, outputs: Tensor, segment: Tensor) -> Tensor:
        fit, n_labels = self.recipe.fit, self.right.shape[1]
        log_p = outputs[:, :n_labels].log_softmax(1)
        right = self.right[segment]
        known = right.any(1)
        # Where several labels may be correct, their probabilities are added.
        chosen = log_p.masked_fill(~right, -math.inf)[known].logsumexp(1)
        smooth = log_p[known].mean(1)
        said = (1 - fit.label_smoothing) * chosen + fit.label_smoothing * smooth
        loss = -said.sum() / known.sum().clamp(min=1)
        level = self.arousal[segment]
        certain = ~level.isnan()
        target = level[certain] * (1 - 2 * MARGIN) + MARGIN
        if len(target):
            arousal = outputs[:, n_labels][certain]
            off = nn.functional.binary_cross_entropy_with_logits(arousal, target)
            loss = loss + fit.arousal_weight * off
        return loss

    def _place(self, step: int, rendering: Tensor) -> Statistics:
        sample = self._numbers(self.use[self.draws.sample[step]])
        weight = self._numbers(self.draws.sample_weight[step])[..., None]
        summary = self.bank.summary[rendering[:, None], sample]
        return statistics_of((summary * weight).sum(1))

    def _numbers(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _rate(at: float, warm_up: float) -> float:
    """Return the factor on the learning rate: a cosine rise, then a cosine decay."""
    if at < warm_up:
        return 0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * at / warm_up))
    return max(0.5 + 0.5 * math.cos(math.pi * (at - warm_up) / (1 - warm_up)), 1e-4)

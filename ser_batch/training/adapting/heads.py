"""What is fitted to a few hundred labels: the last layer, or its calibration alone."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ser_batch.emotion.calibration import (
    Calibration,
    joined,
    log_probabilities,
    tempered,
)

ITERATIONS = 60
PRIOR_DECAY, TEMPERATURE_DECAY = 0.5, 5.0
"""The penalties of a changed bias, and of a changed logarithm of the temperature: few
labels must not change either by much."""
SMOOTHING = 5.0
"""Labels of few segments weigh less than their rarity alone would give them."""


@dataclass(frozen=True)
class Described:
    """Segments as the last layer of a network sees them, and their labels.

    Shape:
        pooled: (segments, pooled): normalised by place
        right: (segments, labels): the share of the answers that a label has; a label
            and its synonyms share it
        arousal: (segments); None if the network has no output for it
    """

    pooled: Float[Tensor, "segments pooled"]
    right: Float[Tensor, "segments labels"]
    arousal: Float[Tensor, " segments"] | None = None

    def of(self, rows: Tensor) -> "Described":
        """Return some of the segments."""
        arousal = None if self.arousal is None else self.arousal[rows]
        return Described(self.pooled[rows], self.right[rows], arousal)


@dataclass(frozen=True)
class Head:
    """The part of a network that gives labels, and its calibration."""

    weight: Float[Tensor, "outputs pooled"]
    bias: Float[Tensor, " outputs"]
    calibration: Calibration
    aroused: Float[Tensor, " labels"] | None = None
    """How aroused each label is, if the network has an output for arousal."""
    groups: tuple[tuple[int, ...], ...] = ()
    """For each label, the outputs that count for it; empty if each has its own."""

    def logits(self, own: Described) -> Float[Tensor, "segments labels"]:
        """Return logits that agree with the arousal output, if any, as at inference."""
        outputs = own.pooled @ self.weight.T + self.bias
        if self.groups:
            outputs = joined(outputs, self.groups)
        if own.arousal is None or self.aroused is None:
            return outputs
        return log_probabilities(outputs, own.arousal, self.aroused)

    def probabilities(self, own: Described) -> Float[Tensor, "segments labels"]:
        """Return calibrated probabilities."""
        return self.calibration.probabilities(self.logits(own))


def fit_head(
    head: Head, own: Described, synonyms: Float[Tensor, "labels labels"], decay: float
) -> Head:
    """Return a head fitted to labels, near the given one.

    Minimises the cross-entropy of calibrated probabilities, with labels weighted by
    their rarity, plus `decay` times the squared change of the weights (Li et al. 2018,
    Explicit inductive bias for transfer learning). An infinite decay changes the
    calibration alone: the biases, which are the priors of the labels, and the
    temperature.

    Args:
        head: the one to start from.
        own: the segments to fit it to.
        synonyms: which labels count as one; 1 on the diagonal.
        decay: the strength of the penalty.
    """
    change = torch.zeros_like(head.weight, requires_grad=decay != float("inf"))
    shift = torch.zeros_like(head.bias, requires_grad=True)
    fitted = [p for p in (change, shift) if p.requires_grad]
    optimiser = torch.optim.LBFGS(
        fitted, max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )
    weight = rarity(own.right)
    strength = 0.0 if decay == float("inf") else decay

    def loss() -> Tensor:
        optimiser.zero_grad()
        now = replace(head, weight=head.weight + change, bias=head.bias + shift)
        p = now.probabilities(own) @ synonyms
        cross_entropy = -(weight * own.right * torch.log(p + 1e-9)).sum()
        value = cross_entropy + strength * change.square().sum()
        value = value + PRIOR_DECAY * shift.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    fitted_head = replace(
        head,
        weight=(head.weight + change).detach(),
        bias=(head.bias + shift).detach(),
    )
    if decay != float("inf"):
        # A temperature fitted to what the weights were fitted to would be too low.
        return fitted_head
    return _with_temperature(fitted_head, own, synonyms)


def _with_temperature(
    head: Head, own: Described, synonyms: Float[Tensor, "labels labels"]
) -> Head:
    """Return the head with the temperature that fits the labels as they occur."""
    calibration, logits = head.calibration, head.logits(own).double()
    change = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [change], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        temperature = calibration.temperature * change.exp()
        p = tempered(logits, temperature, calibration.alike).softmax(-1)
        right = own.right * torch.log(p @ synonyms.double() + 1e-9)
        value = -right.sum() + TEMPERATURE_DECAY * change.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    temperature = calibration.temperature * float(change.detach().exp())
    changed = replace(calibration, temperature=round(temperature, 6))
    return replace(head, calibration=changed)


def rarity(
    right: Float[Tensor, "segments labels"],
) -> Float[Tensor, " labels"]:
    """Return the weight of each label: rare ones count for more; 1 on average."""
    n = right.sum(0)
    weight = 1 / (n + SMOOTHING)
    return weight * len(right) / (weight * n).sum().clamp(min=1e-9)

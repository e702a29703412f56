"""Logits to probabilities that mean what they say, by temperature scaling (Guo et al., ICML 2017)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Calibration:
    """`temperature` divides the logits; segments less sure than `abstain_below` get no label."""

    temperature: float = 1.0
    abstain_below: float = 0.0

    def probabilities(self, logits: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Probabilities in float32, whatever the precision of the logits."""
        return (logits.float() / self.temperature).softmax(-1)


def fit_calibration(logits: Float[Tensor, "n labels"], truth: Int[Tensor, " n"], coverage: float) -> Calibration:
    """The temperature of least negative log-likelihood on held-out speakers, and the confidence that a
    share `coverage` of their clips reaches."""
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    logits = logits.double()
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), truth)
        value.backward()
        return value

    optimizer.step(loss)
    temperature = float(log_temperature.detach().exp())
    confidence = (logits / temperature).softmax(-1).amax(-1)
    return Calibration(round(temperature, 6), round(float(confidence.quantile(1 - coverage)), 6))

"""Calibrated probabilities by temperature scaling (Guo et al., ICML 2017)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ser_batch.emotion.answers import Answers, certainty

LOWEST, HIGHEST = 0.25, 10.0
"""The bounds of the temperature."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become probabilities, and when the model abstains.

    `temperature` divides the logits; segments with a `certainty` below `abstain_below`
    get no label. The labels `alike` (by index) count as one against the others: neutral
    and calm often sound the same, and share their probability. `usual_distance` is the
    median and the 99th percentile of the distance of speech like the training speech
    (profiled networks). `answers` are those of the model on held-out corpora.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    usual_distance: tuple[float, float] | None = None
    answers: Answers = field(default_factory=dict)
    alike: tuple[int, ...] = ()

    def out_of_domain(
        self, distance: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return 0 for speech typical of training, up to 1 for speech rare in it.

        Linear in the logarithm of the distance, from the median to twice the 99th
        percentile.
        """
        if self.usual_distance is None:
            return torch.zeros_like(distance)
        median, far = self.usual_distance
        span = math.log(2 * far / median)
        return (torch.log(distance.clamp(min=1e-6) / median) / span).clamp(0, 1)

    def probabilities(
        self, logits: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, "batch labels"]:
        """Return probabilities in float32, whatever the precision of the logits."""
        return tempered(logits.float(), self.temperature, self.alike).softmax(-1)


def joined(
    logits: Float[Tensor, "batch outputs"], groups: Sequence[Sequence[int]]
) -> Float[Tensor, "batch groups"]:
    """Return logits whose softmax is the sum of that of the outputs in each group."""
    return torch.stack([logits[:, list(own)].logsumexp(1) for own in groups], 1)


def log_probabilities(
    logits: Float[Tensor, "batch labels"],
    arousal: Float[Tensor, " batch"],
    aroused: Float[Tensor, " labels"],
) -> Float[Tensor, "batch labels"]:
    """Return logits whose softmax agrees with the network's own arousal output.

    The `aroused` labels together get the probability `arousal` (0 to 1), the others the
    rest; within each group, the proportions are kept. Arousal transfers from corpus to
    corpus better than any label.
    """
    p = logits.float().softmax(-1)
    expected = (p @ aroused).clamp(1e-6, 1 - 1e-6)
    up = (arousal / expected)[:, None]
    down = ((1 - arousal) / (1 - expected))[:, None]
    return torch.log(p * (aroused * up + (1 - aroused) * down) + 1e-9)


def fit_calibration(
    logits: Float[Tensor, "n labels"],
    right: Bool[Tensor, "n labels"],
    coverage: float,
    alike: tuple[int, ...] = (),
) -> Calibration:
    """Return the calibration that best fits clips of held-out speakers.

    Its temperature minimises the negative log-likelihood, and a share `coverage` of the
    clips reaches a certainty of `abstain_below`.

    Args:
        logits: those of the clips.
        right: which labels are correct for each clip.
        coverage: 0 to 1.
        alike: labels that count as one (`Calibration.alike`).
    """
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    logits = logits.double()
    optimizer = torch.optim.LBFGS(
        [log_temperature], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        log_p = tempered(logits, log_temperature.exp(), alike).log_softmax(-1)
        value = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1).mean()
        value.backward()
        return value

    optimizer.step(loss)
    # If nearly all held-out clips are right, only the bounds limit the temperature.
    temperature = min(max(float(log_temperature.detach().exp()), LOWEST), HIGHEST)
    p = tempered(logits, temperature, alike).softmax(-1).numpy()
    sure = np.quantile(certainty(p, alike), 1 - coverage)
    threshold = math.floor(1e6 * float(sure)) / 1e6
    return Calibration(round(temperature, 6), threshold, alike=alike)


def tempered(
    logits: Float[Tensor, "n labels"],
    temperature: float | Tensor,
    alike: tuple[int, ...],
) -> Float[Tensor, "n labels"]:
    """Return logits over a temperature; the labels `alike` are scaled as one logit."""
    scaled = logits / temperature
    if not alike:
        return scaled
    own = list(alike)
    together = logits[:, own].logsumexp(-1, keepdim=True) / temperature
    shared = scaled[:, own].log_softmax(-1) + together
    return scaled.index_copy(-1, torch.tensor(own, device=logits.device), shared)

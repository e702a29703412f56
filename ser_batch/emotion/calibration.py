"""Logits to probabilities that mean what they say, by temperature scaling (Guo et al., ICML 2017)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Answers = Mapping[str, Mapping[str, Sequence[float]]]
"""By corpus and true label, the mean probability of every label."""
LOWEST, HIGHEST = 0.25, 10.0
"""Of temperatures."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become probabilities, and when there is no label.

    `temperature` divides the logits; segments of less `certainty` than `abstain_below`
    get no label. Labels `alike` (by number) count as one against the others: neutral and
    calm share the probability of what often sounds the same. `usual_distance` are the
    median and the 99th percentile of the distance of speech like that of training
    (profiled networks). `answers` are those of the model on corpora that were left out.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    usual_distance: tuple[float, float] | None = None
    answers: Answers = field(default_factory=dict)
    alike: tuple[int, ...] = ()

    def out_of_domain(
        self, distance: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return 0 for speech as usual in training, 1 for what is hardly ever so.

        Linear in the logarithm of the distance, from the median to twice as far as the
        99th percentile.
        """
        if self.usual_distance is None:
            return torch.zeros_like(distance)
        median, far = self.usual_distance
        span = math.log(2 * far / median)
        return (torch.log(distance.clamp(min=1e-6) / median) / span).clamp(0, 1)

    def probabilities(
        self, logits: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, "batch labels"]:
        """Probabilities in float32, whatever the precision of the logits."""
        return _tempered(logits.float(), self.temperature, self.alike).softmax(-1)


def certainty(
    probabilities: Float[np.ndarray, "n labels"], alike: tuple[int, ...]
) -> Float[np.ndarray, " n"]:
    """Return the probability of the most probable label; labels `alike` are added up."""
    highest = probabilities.max(axis=1, initial=0.0)
    if not alike:
        return highest
    own = np.isin(probabilities.argmax(axis=1), alike)
    return np.where(own, probabilities[:, list(alike)].sum(axis=1), highest)


def log_probabilities(
    logits: Float[Tensor, "batch labels"],
    arousal: Float[Tensor, " batch"],
    aroused: Float[Tensor, " labels"],
) -> Float[Tensor, "batch labels"]:
    """Return logits whose softmax says of arousal what the network's own output does.

    The labels that are `aroused` become as likely together as `arousal` (0 to 1), the
    others as the rest of 1; among themselves they keep their proportions. What is heard
    of arousal carries over from corpus to corpus better than any label.
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
    """Return the calibration that fits clips of held-out speakers best.

    Its temperature has the least negative log-likelihood, and a share `coverage` of the
    clips has a certainty of its `abstain_below` or more.

    Args:
        right: which labels are right for each clip.
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
        log_p = _tempered(logits, log_temperature.exp(), alike).log_softmax(-1)
        value = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1).mean()
        value.backward()
        return value

    optimizer.step(loss)
    # Where nearly all held-out clips are right, nothing holds the temperature back but these bounds.
    temperature = min(max(float(log_temperature.detach().exp()), LOWEST), HIGHEST)
    p = _tempered(logits, temperature, alike).softmax(-1).numpy()
    sure = np.quantile(certainty(p, alike), 1 - coverage)
    threshold = math.floor(1e6 * float(sure)) / 1e6
    return Calibration(round(temperature, 6), threshold, alike=alike)


def _tempered(
    logits: Float[Tensor, "n labels"],
    temperature: float | Tensor,
    alike: tuple[int, ...],
) -> Float[Tensor, "n labels"]:
    """Return logits over a temperature; what labels `alike` have together is one logit."""
    scaled = logits / temperature
    if not alike:
        return scaled
    own = list(alike)
    together = logits[:, own].logsumexp(-1, keepdim=True) / temperature
    shared = scaled[:, own].log_softmax(-1) + together
    return scaled.index_copy(-1, torch.tensor(own, device=logits.device), shared)

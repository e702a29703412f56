"""Fine-tuning of a profiled network: its BiLSTM and its last layer, on few segments.

The convolutions stay as they are, so that segments are heard by them once. The last
layer is fitted first, since gradients through a wrong one would distort the rest (Kumar
et al. 2022, Fine-tuning can distort pretrained features). A penalty on the squared
change keeps the weights near the old ones, as in `fit_head`. Clips of the corpora that
the network was trained on can be mixed in, so that it does not forget them.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.place import Statistics
from ser_batch.emotion.profiled_network import ProfiledNetwork
from ser_batch.emotion.profiled_scorer import distance_from_training
from ser_batch.training.adapting.heads import Described, Head, rarity

EPOCHS, BATCH, STEP = 8, 32, 5e-4
DECAY = 3.0
MIXED = 0.5
"""The weight of all clips that are mixed in, relative to that of all labels."""
TUNED = ("forward_lstm", "backward_lstm", "gain", "shift")


@dataclass(frozen=True)
class Heard:
    """Segments as the BiLSTM of a network hears them.

    Shape:
        steps: of each segment, (steps, projection)
        right: (segments, labels), as in `Described`
        place: (segments): the number of the place that each is from
        shares: (places): the weight of a place's own statistics
    """

    steps: list[Tensor]
    right: Float[Tensor, "segments labels"]
    place: Int[Tensor, " segments"]
    shares: Float[Tensor, " places"]

    def followed_by(self, other: "Heard") -> "Heard":
        """Return these segments, followed by those of other places."""
        return Heard(
            [*self.steps, *other.steps],
            torch.cat([self.right, other.right]),
            torch.cat([self.place, other.place + len(self.shares)]),
            torch.cat([self.shares, other.shares]),
        )

    def described(self, network: ProfiledNetwork) -> Described:
        """Return the segments as the last layer of a network sees them."""
        with torch.inference_mode():
            pooled = torch.cat(
                [self.pooled(network, own) for own in _batches(len(self.steps))]
            )
            return _described(network, pooled, self.places(network, pooled), self.right)

    def distances(self, network: ProfiledNetwork) -> Float[Tensor, " segments"]:
        """Return how far each segment is from the training speech of a network."""
        with torch.inference_mode():
            return torch.cat(
                [
                    distance_from_training(self.pooled(network, own), network)
                    for own in _batches(len(self.steps))
                ]
            )

    def pooled(
        self, network: ProfiledNetwork, rows: Tensor
    ) -> Float[Tensor, "batch pooled"]:
        """Return the pooled vectors of some segments."""
        own = [self.steps[int(i)] for i in rows]
        lengths = torch.tensor([len(steps) for steps in own])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return network.summarised(pad_sequence(own, batch_first=True), mask.float())

    def places(
        self, network: ProfiledNetwork, pooled: Float[Tensor, "segments pooled"]
    ) -> Statistics:
        """Return the statistics of each segment's place, shrunk as at inference."""
        mean, variance = torch.empty_like(pooled), torch.empty_like(pooled)
        for number, share in enumerate(self.shares):
            own = self.place == number
            of = Statistics(pooled[own].mean(0), pooled[own].var(0, unbiased=False))
            shrunk = network.own_place.towards(of, share)
            mean[own], variance[own] = shrunk.mean, shrunk.variance
        return Statistics(mean, variance)


def fine_tuned(
    network: ProfiledNetwork,
    head: Head,
    heard: Heard,
    rows: Int[np.ndarray, " used"],
    n_own: int,
    synonyms: Float[Tensor, "labels labels"],
    seed: int,
) -> tuple[ProfiledNetwork, Head]:
    """Return a network and a head fitted to some segments, near the given ones.

    Args:
        network: the network; it is not changed.
        head: a last layer that was fitted to the same segments.
        heard: all segments, those that are mixed in last.
        rows: the segments to learn from.
        n_own: how many of the segments are not mixed in.
        synonyms: which labels count as one; 1 on the diagonal.
        seed: of the order of the segments.
    """
    tuned = copy.deepcopy(network).eval()
    parameters = [p for name in TUNED for p in _parameters(tuned, name)]
    weight = head.weight.clone().requires_grad_()
    bias = head.bias.clone().requires_grad_()
    used = torch.from_numpy(rows)
    importance = _importance(heard, used, n_own)
    for parameter in tuned.parameters():
        parameter.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_()
    fitted = [*parameters, weight, bias]
    before = [parameter.detach().clone() for parameter in fitted]
    optimiser = torch.optim.Adam(fitted, lr=STEP)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        # As the network changes, so do the statistics of each place.
        with torch.no_grad():
            everything = torch.cat(
                [heard.pooled(tuned, own) for own in _batches(len(heard.steps))]
            )
            places = heard.places(tuned, everything)
        order = used[torch.randperm(len(used), generator=generator)]
        for own in order.split(BATCH):
            place = Statistics(places.mean[own], places.variance[own])
            seen = _described(tuned, heard.pooled(tuned, own), place, heard.right[own])
            last = replace(head, weight=weight, bias=bias)
            p = last.probabilities(seen) @ synonyms
            entropy = -(importance[own, None] * seen.right * torch.log(p + 1e-9)).sum()
            change = torch.stack(
                [
                    (now - old).square().sum()
                    for now, old in zip(fitted, before, strict=True)
                ]
            ).sum()
            loss = entropy / len(own) + DECAY * change / len(used)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    calibration = _with_distances(head.calibration, heard, network, tuned)
    fitted_head = replace(
        head, weight=weight.detach(), bias=bias.detach(), calibration=calibration
    )
    return tuned, fitted_head


def _with_distances(
    calibration: Calibration,
    heard: Heard,
    before: ProfiledNetwork,
    after: ProfiledNetwork,
) -> Calibration:
    """Return a calibration for which the segments are as unusual as they were.

    The pooled vectors have moved, and the statistics of training have not.
    """
    if calibration.usual_distance is None:
        return calibration
    ratio = (heard.distances(after) / heard.distances(before).clamp(min=1e-6)).log()
    factor = float(ratio.mean().exp())
    median, far = calibration.usual_distance
    return replace(calibration, usual_distance=(median * factor, far * factor))


def _importance(heard: Heard, used: Tensor, n_own: int) -> Float[Tensor, " segments"]:
    """Return the weight of each segment: rare labels count for more."""
    importance = torch.zeros(len(heard.right))
    for part, share in ((used[used < n_own], 1.0), (used[used >= n_own], MIXED)):
        if len(part):
            own = (heard.right[part] * rarity(heard.right[part])).sum(1)
            n_labels = int((used < n_own).sum())
            importance[part] = own * share * n_labels / len(part)
    return importance


def _described(
    network: ProfiledNetwork,
    pooled: Float[Tensor, "n pooled"],
    place: Statistics,
    right: Float[Tensor, "n labels"],
) -> Described:
    x = network.placed(pooled, place)
    arousal = network.heads(x)[:, network.n_labels].sigmoid()
    return Described(x, right, arousal)


def _parameters(network: ProfiledNetwork, name: str) -> Iterator[torch.nn.Parameter]:
    own = getattr(network, name)
    if isinstance(own, torch.nn.Parameter):
        yield own
    else:
        yield from own.parameters()


def _batches(n: int) -> Sequence[Tensor]:
    return torch.arange(n).split(BATCH)

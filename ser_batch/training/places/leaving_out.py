"""Evaluation of a network on held-out corpora, and the baseline to compare it with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ser_batch.accuracy import calibration_error, reliability
from ser_batch.emotion.calibration import log_probabilities
from ser_batch.emotion.frontend import N_MELS, PITCH, VOICING, cepstral_transform
from ser_batch.emotion.place import (
    N_CEPSTRA,
    Statistics,
    normalised,
    place_weight,
    statistics_of,
)
from ser_batch.training.places.bank import Bank
from ser_batch.training.places.fitting import Fitted

FOUR = ("neutral", "happy", "sad", "angry")
"""The labels that nearly all corpora have; calm is scored as neutral."""
PLACE_CLIPS = 100
"""Largest number of clips in the sample of a place."""
NEUTRAL_SHARE = 0.85
"""Share of neutral clips in the sample of a mostly neutral place."""
RENDERED = {"clean": 0, "telephone": 3}
"""Renderings: as recorded, and 300 to 3400 Hz in mu-law with white noise at 11 to 19 dB
SNR."""
PERCENTILES = (0.1, 0.5, 0.9)
TOGETHER = 64


@dataclass(frozen=True)
class LeftOut:
    """The segments of one held-out corpus, like a folder of clips to analyse."""

    rows: Int[np.ndarray, " segments"]
    """Indices of the segments in the bank."""
    clip: Int[np.ndarray, " segments"]
    """Index of each segment's clip, from 0."""
    seconds: Float[np.ndarray, " segments"]
    """Length of each segment [s]."""
    label: Sequence[str]
    """The label of each clip."""

    def place(self, rng: np.random.Generator, mostly_neutral: bool) -> np.ndarray:
        """Draw a sample with one segment per clip; return indices into `rows`."""
        # One random segment per clip: the first of each in a random order.
        order = rng.permutation(len(self.rows))
        order = order[np.unique(self.clip[order], return_index=True)[1]]
        order = rng.permutation(order)
        if not mostly_neutral:
            return order[:PLACE_CLIPS]
        neutral = np.array(
            [self.label[i] in ("neutral", "calm") for i in self.clip[order]]
        )
        n = min(int(neutral.sum()), round(PLACE_CLIPS * NEUTRAL_SHARE))
        others = max(1, round(n * (1 - NEUTRAL_SHARE) / NEUTRAL_SHARE))
        return np.concatenate([order[neutral][:n], order[~neutral][:others]])

    def by_clip(self, values: Float[np.ndarray, "segments n"]) -> np.ndarray:
        """Return the means over each clip's segments, weighted by their length."""
        total = np.zeros((len(self.label), values.shape[1]))
        np.add.at(total, self.clip, values * self.seconds[:, None])
        return total / np.bincount(self.clip, self.seconds, len(self.label))[:, None]


def network_answers(
    fitted: Fitted,
    bank: Bank,
    left_out: LeftOut,
    rendering: int,
    sample: np.ndarray,
    aroused: Float[Tensor, " labels"],
) -> tuple[Float[Tensor, "segments labels"], Float[Tensor, " segments"]]:
    """Return the uncalibrated label logits and the arousal of every segment.

    The profile of the place comes from the segments `sample`, as in `ser analyze`.
    """
    network, share = fitted.network, place_weight(len(sample))
    rows = torch.from_numpy(left_out.rows)
    summary = bank.summary[rendering, rows[torch.from_numpy(sample)]].mean(0)
    place = fitted.usual.towards(statistics_of(summary), share)
    pooled = _pooled(fitted, bank, left_out.rows, rendering, place)
    theirs = pooled[torch.from_numpy(sample)]
    told = Statistics(theirs.mean(0), theirs.var(0, unbiased=False))
    with torch.inference_mode():
        told = network.own_place.towards(told, share)
        outputs = network.outputs(pooled, told)
        outputs = outputs.cpu()
        n = network.n_labels
        arousal = outputs[:, n].sigmoid()
        return log_probabilities(outputs[:, :n], arousal, aroused), arousal


def distance_from_training(
    fitted: Fitted, bank: Bank, rows: np.ndarray, rendering: int
) -> Float[np.ndarray, " segments"]:
    """Return the distance of segments' pooled vectors from those of training."""
    pooled = _pooled(fitted, bank, rows, rendering, fitted.usual)
    own = fitted.network.own_place
    gap = (pooled - own.mean).square() / (own.variance + 1e-4)
    return gap.mean(1).cpu().numpy()


def _pooled(
    fitted: Fitted, bank: Bank, rows: np.ndarray, rendering: int, place: Statistics
) -> Tensor:
    """Return the pooled vectors of segments, in batches of similar length."""
    place = Statistics(place.mean[None], place.variance[None])
    count = bank.count[torch.from_numpy(rows)]
    out = torch.zeros(len(rows), fitted.network.config.pooled_width)
    order = torch.argsort(count.cpu())
    with torch.inference_mode():
        for at in order.split(TOGETHER):
            frames = _frames(bank, torch.from_numpy(rows)[at], rendering)
            cepstra, side = normalised(frames, place)
            pooled = fitted.network.pooled(cepstra, side, count[at].to(cepstra.device))
            out[at] = pooled.cpu()
    return out.to(bank.features.device)


def _frames(bank: Bank, rows: Tensor, rendering: int) -> Tensor:
    """Return the frames of segments; shorter ones repeat their last frame."""
    first = bank.first[rows] + rendering * bank.n_frames
    count = bank.count[rows]
    t = torch.arange(int(count.max()), device=first.device)
    index = first[:, None] + torch.minimum(t, (count - 1)[:, None])
    return bank.features[index].float()


def functionals(bank: Bank, rows: np.ndarray, rendering: int) -> np.ndarray:
    """Return mean, deviation and percentiles of 40 cepstra, pitch, voicing and energy.

    They are the input of the baseline, which has no network and ignores the order of
    frames.

    Shape:
        (segments, 5 * 43).
    """
    out = np.zeros((len(rows), 5 * (N_CEPSTRA + 3)), np.float32)
    transform = cepstral_transform(N_CEPSTRA).to(bank.features.device)
    order = torch.argsort(bank.count[torch.from_numpy(rows)].cpu())
    for at in order.split(TOGETHER):
        own = torch.from_numpy(rows)[at]
        frames, count = _frames(bank, own, rendering), bank.count[own]
        values = torch.cat([frames[..., :N_MELS] @ transform, frames[..., N_MELS:]], -1)
        t = torch.arange(values.shape[1], device=values.device)
        values = values.masked_fill((t >= count[:, None])[..., None], torch.nan)
        shift = N_CEPSTRA - N_MELS
        pitch, voicing = values[..., PITCH + shift], values[..., VOICING + shift]
        voiced = torch.where(voicing > 0.5, pitch, torch.nan)
        some = (~voiced.isnan()).any(1, keepdim=True)
        values[..., PITCH + shift] = torch.where(some, voiced, pitch)
        mean = values.nanmean(1)
        deviation = (values - mean[:, None]).square().nanmean(1).sqrt()
        levels = torch.tensor(PERCENTILES, device=values.device)
        percentiles = torch.nanquantile(values, levels, dim=1)
        out[at.numpy()] = torch.cat([mean, deviation, *percentiles], -1).cpu().numpy()
    return out


def baseline(
    known: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> LogisticRegression:
    """Fit a logistic regression to functionals, standardised within each corpus.

    `known` are the functionals of each corpus, `labels` their label indices; labels
    have equal weight.
    """
    weights = []
    for own in labels:
        n = np.bincount(own)
        weights.append(1 / n[own] / (n > 0).sum())
    w = np.concatenate(weights)
    x = np.concatenate([standardised(own, own) for own in known])
    model = LogisticRegression(C=0.02, max_iter=200)
    return model.fit(x, np.concatenate(labels), w / w.mean())


def standardised(values: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Standardise functionals by the statistics of a sample, clipped to +-5."""
    return np.clip((values - sample.mean(0)) / (sample.std(0) + 1e-3), -5, 5)


def four_label_figures(
    probabilities: Float[np.ndarray, "clips labels"],
    arousal: Float[np.ndarray, " clips"] | None,
    truth: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Return UAR of four labels, AUC of anger and of arousal, ECE and reliability.

    Clips with other labels are ignored. The AUC of arousal is for happy and angry
    against neutral and sad.
    """
    said = {label: probabilities[:, i] for i, label in enumerate(labels)}
    named = np.array(["neutral" if label == "calm" else label for label in truth])
    counts = np.isin(named, FOUR)
    zero = np.zeros(len(named))
    neutral = said.get("neutral", zero) + said.get("calm", zero)
    four = np.stack([neutral, *(said.get(label, zero) for label in FOUR[1:])], axis=1)[
        counts
    ]
    four = four / four.sum(axis=1, keepdims=True).clip(min=1e-9)
    own = named[counts]
    right = np.array(FOUR)[four.argmax(1)] == own
    present = [label for label in FOUR if (own == label).any()]
    figures: dict[str, Any] = {
        "clips": int(counts.sum()),
        "uar": float(np.mean([right[own == label].mean() for label in present])),
        "ece": calibration_error(right, four.max(1)),
        "reliability": reliability(right, four.max(1)),
    }
    angry, aroused = own == "angry", np.isin(own, ("angry", "happy"))
    if 0 < angry.sum() < len(own):
        figures["anger_auc"] = float(roc_auc_score(angry, said["angry"][counts]))
    if arousal is not None and 0 < aroused.sum() < len(own):
        figures["arousal_auc"] = float(roc_auc_score(aroused, arousal[counts]))
    return figures

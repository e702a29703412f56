"""Sampling of all training steps in advance, reproducible from a seed on any device."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from ser_batch.training.places.renderings import CLEAN, TELEPHONE
from ser_batch.training.places_recipe import DrawsConfig


@dataclass(frozen=True)
class Drawable:
    """The segments to draw from, with one value per segment in each array."""

    corpus: np.ndarray
    speaker: np.ndarray
    clip: Int[np.ndarray, " segments"]
    kind: np.ndarray
    """The label, or the level of arousal where only that is annotated."""
    calm: np.ndarray
    """Whether the segment is neutral, calm, or of medium arousal."""


@dataclass(frozen=True)
class Draws:
    """Indices of segments and renderings for every step."""

    segment: Int[np.ndarray, "steps groups clips"]
    """The segments that the loss is computed on, followed by those of the place."""
    rendering: Int[np.ndarray, "steps groups"]
    sample: Int[np.ndarray, "steps groups sample"]
    """The segments from which the statistics of the place are computed."""
    sample_weight: Float32[np.ndarray, "steps groups sample"]
    """The weight of each segment of the sample."""
    share: Float32[np.ndarray, "steps groups"]
    """Weight of the place's statistics against those of all corpora."""


def draw(segments: Drawable, config: DrawsConfig, steps: int, seed: int) -> Draws:
    """Draw all steps of a training.

    Corpora are drawn by their weights, without repetition within a step. Among the
    clips that the loss is computed on, labels have equal weight, and within a label
    speakers are weighted by the square root of their number of clips. The segments of a
    clip share its weight.
    """
    rng = np.random.default_rng(seed)
    corpora = list(dict.fromkeys(segments.corpus.tolist()))
    groups, size = min(config.groups, len(corpora)), config.sample[1]
    shape = (steps, groups)
    weights = np.array([config.corpora.get(name, 1.0) for name in corpora])
    # Gumbel top-k: a weighted draw without replacement.
    keys = np.log(weights) + rng.gumbel(size=(steps, len(corpora)))
    chosen = np.argsort(-keys, axis=1)[:, :groups]
    by_phone = rng.random(shape) < config.telephone_share
    rendering = np.where(
        by_phone, rng.choice(TELEPHONE, shape), rng.choice(CLEAN, shape)
    )
    low, high = config.neutral_share
    neutral = low + rng.random(shape) * (high - low)
    kind, mixed = rng.random(shape), config.own_share + config.mixed_share
    share = np.where(
        kind < config.own_share, 0.0, np.where(kind < mixed, rng.random(shape), 1.0)
    )
    smallest, largest = np.log(config.sample)
    n = np.exp(rng.uniform(smallest, largest, shape)).round()
    sample_weight = (np.arange(size) < n[..., None]) / n[..., None]
    segment = np.zeros((*shape, config.clips + config.place_clips), np.int64)
    sample = np.zeros((*shape, size), np.int64)
    for number, name in enumerate(corpora):
        own = np.flatnonzero(segments.corpus == name)
        step, group = np.nonzero(chosen == number)
        alike = _labels_alike(segments, own)
        clips = np.unique(segments.clip[own], return_inverse=True)[1]
        natural, calm = 1.0 / np.bincount(clips)[clips], segments.calm[own]
        heard = _drawn(alike, (len(step), config.clips), rng)
        segment[step, group, : config.clips] = own[heard]
        places = (
            (segment[:, :, config.clips :], config.place_clips),
            (sample, size),
        )
        for target, count in places:
            a = _drawn(natural * calm, (len(step), count), rng)
            b = _drawn(natural * ~calm, (len(step), count), rng)
            take_calm = rng.random(a.shape) < neutral[step, group][:, None]
            target[step, group] = own[np.where(take_calm, a, b)]
    return Draws(
        segment,
        rendering,
        sample,
        sample_weight.astype(np.float32),
        share.astype(np.float32),
    )


def _drawn(
    weight: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw indices by their weights, with replacement, by inversion of the CDF."""
    if not weight.any():
        weight = np.ones(len(weight))
    edges = np.cumsum(weight)
    at = np.searchsorted(edges, rng.random(size) * edges[-1], side="right")
    return at.clip(0, len(edges) - 1)


def _labels_alike(segments: Drawable, own: np.ndarray) -> np.ndarray:
    """Return sampling weights with the same sum for every label; see `draw`."""
    kinds = np.unique(segments.kind[own], return_inverse=True)[1]
    speakers = np.unique(segments.speaker[own], return_inverse=True)[1]
    clips = np.unique(segments.clip[own], return_inverse=True)[1]
    one_of_each = np.unique(clips, return_index=True)[1]
    n = np.zeros((kinds.max() + 1, speakers.max() + 1))
    np.add.at(n, (kinds[one_of_each], speakers[one_of_each]), 1)
    root = np.sqrt(n)
    share = root / root.sum(1, keepdims=True) / np.maximum(n, 1)
    return share[kinds, speakers] / np.bincount(clips)[clips]

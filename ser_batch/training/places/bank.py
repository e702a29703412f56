"""The features of all segments in all renderings, computed once and stored on disk."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ser_batch.emotion.batches import padded
from ser_batch.emotion.frontend import N_VALUES, Frontend, n_frames
from ser_batch.emotion.place import N_SUMMARY, Statistics, statistics_of, summaries
from ser_batch.training.places.renderings import (
    CLEAN,
    RENDERINGS,
    TELEPHONE,
    rendered,
)
from ser_batch.training.places.segments import Segments

TOGETHER = 64
Batches = Callable[[Sequence[np.ndarray], str], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Bank:
    """The features of segments in all renderings.

    Those of segment i in rendering r are the `count[i]` rows from
    `r * n_frames + first[i]`.

    Shape:
        features: (renderings * n_frames, N_VALUES).
        summary: (renderings, segments, N_SUMMARY).
        first, count: (segments).
    """

    features: Tensor
    """In half precision; memory-mapped while the bank is on the CPU."""
    summary: Tensor
    first: Tensor
    count: Tensor
    n_frames: int

    def on(self, device: torch.device) -> "Bank":
        """Return the bank, copied to a device if that is not the CPU."""
        if device.type == "cpu":
            return self
        return Bank(
            self.features.to(device),
            self.summary.to(device),
            self.first.to(device),
            self.count.to(device),
            self.n_frames,
        )

    def usual(self, groups: Sequence[np.ndarray]) -> Statistics:
        """Return the feature statistics over corpora, with equal weight for each.

        `groups` are the indices of the segments of each corpus. The clean and the
        telephone renderings have half of the weight each.
        """
        halves = []
        for kinds in (CLEAN, TELEPHONE):
            found = [
                statistics_of(self.summary[kind, torch.from_numpy(own)].mean(0))
                for own in groups
                for kind in kinds
            ]
            halves.append(
                (
                    torch.stack([s.mean for s in found]).mean(0),
                    torch.stack([s.variance for s in found]).mean(0),
                )
            )
        mean, variance = (
            torch.stack(pair).mean(0) for pair in zip(*halves, strict=True)
        )
        return Statistics(mean, variance)


def open_bank(
    folder: Path,
    segments: Segments,
    surroundings: Sequence[np.ndarray],
    batches: Batches,
    seed: int = 0,
) -> Bank:
    """Open the bank of segments, or compute it if the folder does not contain it yet.

    An interrupted computation resumes after the last complete rendering. `batches`
    wraps the batches of a rendering to show progress.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_samples = torch.from_numpy(segments.n_samples)
    count = n_frames(n_samples)
    first = count.cumsum(0) - count
    total = int(count.sum())
    what = {
        "segments": segments.fingerprint,
        "surroundings": len(surroundings),
        "renderings": [str(rendering) for rendering in RENDERINGS],
        "seed": seed,
    }
    stated, done = folder / "bank.json", 0
    if stated.is_file():
        kept = json.loads(stated.read_text())
        done = kept.pop("done") if kept | {"done": 0} == what | {"done": 0} else 0
    shape = (len(RENDERINGS) * total, N_VALUES)
    mode: Literal["r+", "w+"] = "r+" if done else "w+"
    features = _mapped(folder / "features.npy", np.float16, mode, shape)
    summary_shape = (len(RENDERINGS), len(count), N_SUMMARY)
    summary = _mapped(folder / "summary.npy", np.float32, mode, summary_shape)
    noise = None
    if surroundings:
        noise = torch.from_numpy(np.concatenate(surroundings))
    for number in range(done, len(RENDERINGS)):
        _fill(number, segments, noise, features, summary, first, total, batches, seed)
        features.flush()
        summary.flush()
        stated.write_text(json.dumps(what | {"done": number + 1}))
    return Bank(
        torch.from_numpy(features), torch.from_numpy(summary), first, count, total
    )


def _mapped(
    path: Path, kind: type, mode: Literal["r+", "w+"], shape: tuple[int, ...]
) -> np.memmap:
    if mode == "r+":
        return np.lib.format.open_memmap(path, mode)
    return np.lib.format.open_memmap(path, mode, kind, shape)


def _fill(
    number: int,
    segments: Segments,
    noise: Tensor | None,
    features: np.memmap,
    summary: np.memmap,
    first: Tensor,
    total: int,
    batches: Batches,
    seed: int,
) -> None:
    """Compute one rendering of all segments, and write it into the arrays."""
    rendering, frontend, corpus = RENDERINGS[number], Frontend(), segments.corpus
    lengths = segments.n_samples
    names = list(dict.fromkeys(corpus.tolist()))
    places = {
        name: np.random.default_rng([seed, number, i]) for i, name in enumerate(names)
    }
    states = {name: place.bit_generator.state for name, place in places.items()}
    todo = []
    for name in names:
        own = np.flatnonzero(corpus == name)
        # Sorted by length, so that batches have little padding.
        own = own[np.argsort(lengths[own], kind="stable")]
        todo += np.array_split(own, max(1, len(own) // TOGETHER))
    for at, rows in enumerate(batches(todo, rendering.name)):
        # All batches of a corpus share one place; each has its own noise.
        place = places[corpus[rows[0]]]
        place.bit_generator.state = states[corpus[rows[0]]]
        torch.manual_seed(seed * 1_000_003 + number * 100_003 + at)
        waveforms, n = padded([segments.waveforms[i] for i in rows])
        with torch.inference_mode():
            heard = rendered(waveforms, n, rendering, place, noise)
            frames, count = frontend(heard, n)
            summary[number, rows] = summaries(frames, count).numpy()
        for row, own, n_own in zip(rows, frames.half().numpy(), count, strict=True):
            start = number * total + int(first[row])
            features[start : start + int(n_own)] = own[: int(n_own)]

"""Telling voices apart with the voice model.

    speech of a channel -> points (voice_cells.py) -> clusters of a sample of windows
    -> the voice of each cell of 0.13 s, smoothed over time

The clusters are found by spectral clustering. Then every cell is compared with the mean
of each cluster, and smoothed by a hidden Markov model in which voices are more likely
to change after a pause than within speech (as in VBx: Landini et al. 2022).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from ser_batch.speech.clustering import clustered
from ser_batch.speech.diarization import (
    LEAST_TALK_S,
    Read,
    Voices,
    appearing,
    one_voice,
)
from ser_batch.speech.regions import Regions, inside, spans
from ser_batch.speech.smoothing import smoothed
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_cells import Cells
from ser_batch.speech.voices import Points, VoiceModel

EVIDENCE = 0.15
"""The weight of a cell: neighbours share most of their window, and say the same."""
CHANGES, CHANGES_AT_PAUSE = 0.05, 0.27
"""Probabilities that the next cell is of another voice."""
REFINEMENTS = 2
SHORT_S, SURE = 0.5, 0.8
"""A region shorter than this has a voice only if its probability is high."""
LEAST_OVERLAP_FRAMES = 8
"""Shorter overlaps are too uncertain."""


@dataclass(frozen=True)
class VoiceDiarizer:
    """Tells voices apart with the voice model; see the module for the method."""

    model: VoiceModel

    def voices(self, read: Read, regions: Regions, least: int, most: int) -> Voices:
        """Return `least` to `most` voices in the speech regions of a channel."""
        cells = Cells(self.model, read, regions)
        if not len(cells.points):
            return one_voice(regions)
        means = self._means(cells, least, most)
        if len(means) < 2:
            return one_voice(regions)
        changes = np.where(cells.after_pause, CHANGES_AT_PAUSE, CHANGES)
        likely = np.ones((len(cells.points), 1))
        for _ in range(REFINEMENTS):
            distance = np.square(cells.points[:, None] - means).sum(2)
            likely = smoothed(-EVIDENCE * distance, changes)
            best = likely.argmax(1)
            if len(np.unique(best)) < len(means):
                break
            means = np.stack(
                [cells.points[best == k].mean(0) for k in range(len(means))]
            )
        return self._voices(cells, likely, means, regions)

    def _means(self, cells: Cells, least: int, most: int) -> Points:
        """Return the means of as many clusters as there are voices."""
        sample = cells.sample
        for n in range(min(most, len(sample)), 1, -1):
            labels = clustered(sample, n)
            sizes = np.bincount(labels, minlength=n)
            if not sizes.all():
                continue
            means = np.stack([sample[labels == k].mean(0) for k in range(n)])
            talk_s = sizes / len(sample) * cells.speech_s
            if n <= least or (
                talk_s.min() >= LEAST_TALK_S
                and separation(means) >= self.model.separation
            ):
                return means
        return sample.mean(0, keepdims=True)

    def _voices(
        self, cells: Cells, likely: np.ndarray, means: Points, regions: Regions
    ) -> Voices:
        n_frames = int(regions[-1, 1])
        voice, second = (np.full(n_frames, -1) for _ in range(2))
        certainty = np.zeros(n_frames, np.float32)
        frames = np.flatnonzero(inside(cells.spans, n_frames))
        cell = np.repeat(np.arange(len(likely)), np.diff(cells.spans)[:, 0])
        ranking = likely.argsort(1)
        voice[frames], second[frames] = ranking[cell, -1], ranking[cell, -2]
        certainty[frames] = likely.max(1)[cell]
        second[~overlapping(cells, self.model.overlap_above, n_frames)] = -1
        for start, end in regions:
            brief = (end - start) * FRAME_S < SHORT_S
            if brief and certainty[start:end].mean() < SURE:
                voice[start:end], second[start:end] = len(means), -1
        behind = second[:, None] == np.arange(len(means))
        order = appearing(voice, behind)
        if len(order) < 2:
            return one_voice(regions)
        apart = separation(means[order])
        return Voices(
            [spans(voice == k) for k in order],
            spans(voice == len(means)),
            certainty,
            self.model.expected_accuracy(apart),
            [spans(behind[:, k]) for k in order],
            apart,
        )


def overlapping(
    cells: Cells, above: float, n_frames: int
) -> Bool[np.ndarray, " frames"]:
    """Return in which frames two voices overlap: where the log odds stay `above`."""
    found = spans(inside(cells.spans[cells.overlap > above], n_frames))
    lasting = found[found[:, 1] - found[:, 0] >= LEAST_OVERLAP_FRAMES]
    return inside(lasting, n_frames)


def separation(means: Points) -> float:
    """Return the distance between the closest two means; infinite if there is one."""
    apart = np.linalg.norm(means[:, None] - means, axis=2)
    return float(apart[np.triu_indices(len(means), 1)].min(initial=np.inf))

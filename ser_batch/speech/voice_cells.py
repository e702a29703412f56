"""The speech of one channel as points: cells for every moment, and a sample of windows.

Memory is bounded: long speech goes through the network in chunks, and only the points
of cells are kept, about 1 kB for a second of speech.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from jaxtyping import Int

from ser_batch.speech.diarization import SAMPLE_RATE, Read, Samples
from ser_batch.speech.regions import Regions
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voices import LEVEL, STEP_S, Steps, VoiceModel, log_mel

FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE)
PIECE_FRAMES = 625
"""Longer regions are divided, to bound memory."""
CHUNK_FRAMES = 1000
"""About how many VAD frames go through the network together."""
SAMPLE_FRAMES = 9400
"""About how many VAD frames the sample is drawn from: five minutes of speech."""
WINDOW_S, WINDOW_HOP_S = 2.5, 0.3
MOST_WINDOWS = 400
CELL_FRAMES = 4
CELL_WINDOW_S = 1.0
OVERLAP_WINDOW_S = 0.7
QUIETEST = 1e-5


class Cells:
    """The speech of a channel: cells of a few VAD frames, and a sample of windows."""

    def __init__(self, model: VoiceModel, read: Read, regions: Regions) -> None:
        self._model, self._read = model, read
        pieces, _ = cut(regions, PIECE_FRAMES)
        n_frames = int(np.diff(pieces).sum())
        self.speech_s = n_frames * FRAME_S
        # Evenly over the recording, so that no voice is missed.
        every = max(1, round(n_frames / SAMPLE_FRAMES))
        sampled, rest = pieces[::every], np.delete(pieces, np.s_[::every], axis=0)
        samples = [self._samples(piece) for piece in sampled]
        power = [np.square(own).mean() for own in samples]
        level = float(np.sqrt(np.mean(power))) if power else 0.0
        self._gain = np.float32(LEVEL / max(level, QUIETEST))
        bands = [log_mel(self._gain * own) for own in samples]
        self.points, self.sample = (np.zeros((0, 1), np.float32) for _ in range(2))
        self.overlap = np.zeros(0, np.float32)
        """The log odds that two voices overlap, for each cell."""
        self.spans = np.zeros((0, 2), np.int32)
        self.after_pause = np.zeros(0, bool)
        if not any(len(own) for own in bands):
            return
        self._mean = np.concatenate(bands).mean(0)
        known = [
            (sampled[chunk], self._model.steps(bands[chunk], self._mean))
            for chunk in _chunks(sampled)
        ]
        self._add_sample([steps for _, steps in known])
        self._add_cells(chain(known, self._heard(rest)))
        self.after_pause = np.isin(self.spans[:, 0], regions[:, 0])

    def _samples(self, piece: Int[np.ndarray, "2"]) -> Samples:
        start, end = (piece * FRAME_SAMPLES).tolist()
        return self._read(start, end - start)

    def _heard(self, pieces: Regions) -> Iterator[tuple[Regions, Steps]]:
        for chunk in _chunks(pieces):
            own = pieces[chunk]
            bands = [log_mel(self._gain * self._samples(piece)) for piece in own]
            yield own, self._model.steps(bands, self._mean)

    def _add_sample(self, sampled: Sequence[Steps]) -> None:
        length, hop = round(WINDOW_S / STEP_S), round(WINDOW_HOP_S / STEP_S)
        windows = [steps.pooled(steps.every(hop, length)) for steps in sampled]
        every = self._model.points(np.concatenate(windows))
        chosen = np.linspace(0, len(every) - 1, min(len(every), MOST_WINDOWS))
        self.centre = every.mean(0)
        self.sample = every[chosen.round().astype(int)] - self.centre

    def _add_cells(self, heard: Iterable[tuple[Regions, Steps]]) -> None:
        points, overlap, found = [], [], []
        length, short = (round(s / STEP_S) for s in (CELL_WINDOW_S, OVERLAP_WINDOW_S))
        for pieces, steps in heard:
            cells, piece = cut(pieces, CELL_FRAMES)
            # The last speech of a file may be too short to be heard.
            is_heard = np.diff(steps.regions)[piece, 0] > 0
            cells, piece = cells[is_heard], piece[is_heard]
            middles = cells.mean(1) - pieces[piece, 0]
            at = (middles * FRAME_S / STEP_S).round().astype(int)
            windows, brief = (steps.around(piece, at, n) for n in (length, short))
            points.append(self._model.points(steps.pooled(windows)))
            overlap.append(self._model.overlap(steps.pooled(brief)))
            found.append(cells)
        order = np.concatenate(found)[:, 0].argsort()
        self.points = np.concatenate(points)[order] - self.centre
        self.overlap = np.concatenate(overlap)[order]
        self.spans = np.concatenate(found)[order].astype(np.int32)


def cut(spans: Regions, length: int) -> tuple[Regions, Int[np.ndarray, " parts"]]:
    """Cut spans into parts of a length, the last of each may be shorter.

    Returns:
        The parts, and which span each is a part of.
    """
    counts = -(-np.diff(spans)[:, 0] // length)
    parent = np.repeat(np.arange(len(spans)), counts)
    number = np.arange(len(parent)) - np.repeat(counts.cumsum() - counts, counts)
    starts = spans[parent, 0] + length * number
    return np.stack([starts, np.minimum(starts + length, spans[parent, 1])], 1), parent


def _chunks(pieces: Regions) -> Iterator[slice]:
    """Yield pieces in a row that have about `CHUNK_FRAMES` together."""
    first = n_frames = 0
    for number, (start, end) in enumerate(pieces.tolist(), 1):
        n_frames += end - start
        if n_frames >= CHUNK_FRAMES or number == len(pieces):
            yield slice(first, number)
            first, n_frames = number, 0

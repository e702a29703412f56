"""The speech of one channel as points: cells for every moment, and a sample of windows.

Memory is bounded: long speech goes through the network in chunks, and only the points
of cells are kept, about 1 kB for a second of speech.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ser_batch.speech.diarization import SAMPLE_RATE, Read, Samples
from ser_batch.speech.regions import Regions
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voices import LEVEL, STEP_S, LogMel, Steps, VoiceModel, log_mel

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


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    is_first: bool
    """Whether it starts its region."""


class Cells:
    """The speech of a channel: cells of a few VAD frames, and a sample of windows."""

    def __init__(self, model: VoiceModel, read: Read, regions: Regions) -> None:
        self._model, self._read = model, read
        pieces = _pieces(regions)
        n_frames = sum(piece.end - piece.start for piece in pieces)
        self.speech_s = n_frames * FRAME_S
        # Evenly over the recording, so that no voice is missed.
        sampled = pieces[:: max(1, round(n_frames / SAMPLE_FRAMES))]
        samples = [self._samples(piece) for piece in sampled]
        power = [np.square(own).mean() for own in samples]
        level = float(np.sqrt(np.mean(power))) if power else 0.0
        self._gain = np.float32(LEVEL / max(level, QUIETEST))
        bands = [log_mel(self._gain * own) for own in samples]
        kept = [own for own in bands if len(own)]
        self._mean = np.zeros(0, np.float32)
        self.points, self.sample = (np.zeros((0, 1), np.float32) for _ in range(2))
        self.overlap = np.zeros(0, np.float32)
        """The log odds that two voices overlap, for each cell."""
        self.spans = np.zeros((0, 2), np.int32)
        self.after_pause = np.zeros(0, bool)
        if not kept:
            return
        self._mean = np.concatenate(kept).mean(0)
        known = dict(zip(sampled, self._steps(sampled, bands), strict=True))
        self._add_sample(list(known.values()))
        self._add_cells(pieces, known)

    def _samples(self, piece: _Piece) -> Samples:
        start, end = piece.start * FRAME_SAMPLES, piece.end * FRAME_SAMPLES
        return self._read(start, end - start)

    def _steps(
        self, pieces: Sequence[_Piece], bands: Sequence[LogMel]
    ) -> Iterator[Steps]:
        """Yield the network's output for pieces, about `CHUNK_FRAMES` at a time."""
        chunk: list[LogMel] = []
        n_frames = 0
        for piece, own in zip(pieces, bands, strict=True):
            chunk.append(own)
            n_frames += piece.end - piece.start
            if n_frames >= CHUNK_FRAMES:
                yield from self._model.steps(chunk, self._mean)
                chunk, n_frames = [], 0
        if chunk:
            yield from self._model.steps(chunk, self._mean)

    def _add_sample(self, steps: Sequence[Steps]) -> None:
        length, hop = round(WINDOW_S / STEP_S), round(WINDOW_HOP_S / STEP_S)
        windows = [
            own.pooled(np.arange(0, max(len(own) - length, 0) + 1, hop), length)
            for own in steps
            if len(own)
        ]
        every = self._model.points(np.concatenate(windows))
        chosen = np.linspace(0, len(every) - 1, min(len(every), MOST_WINDOWS))
        self.centre = every.mean(0)
        self.sample = every[chosen.round().astype(int)] - self.centre

    def _add_cells(self, pieces: Sequence[_Piece], known: dict[_Piece, Steps]) -> None:
        points, overlap, spans, after_pause = [], [], [], []
        length, short = (round(s / STEP_S) for s in (CELL_WINDOW_S, OVERLAP_WINDOW_S))
        for group in _groups(pieces):
            new = [piece for piece in group if piece not in known]
            bands = [log_mel(self._gain * self._samples(piece)) for piece in new]
            fresh = dict(zip(new, self._steps(new, bands), strict=True))
            long_windows, short_windows = [], []
            for piece in group:
                steps = fresh[piece] if piece in fresh else known[piece]
                if not len(steps):
                    continue
                starts = np.arange(piece.start, piece.end, CELL_FRAMES)
                cells = np.stack([starts, np.append(starts[1:], piece.end)], 1)
                middles = cells.mean(1) - piece.start
                at = (middles * FRAME_S / STEP_S).round().astype(int)
                long_windows.append(steps.pooled(steps.starts(at, length), length))
                short_windows.append(steps.pooled(steps.starts(at, short), short))
                spans.append(cells.astype(np.int32))
                after_pause.append(np.arange(len(cells)) < piece.is_first)
            if long_windows:
                points.append(self._model.points(np.concatenate(long_windows)))
                overlap.append(self._model.overlap(np.concatenate(short_windows)))
        self.points = np.concatenate(points) - self.centre
        self.overlap = np.concatenate(overlap)
        self.spans = np.concatenate(spans)
        self.after_pause = np.concatenate(after_pause)


def _pieces(regions: Regions) -> list[_Piece]:
    return [
        _Piece(start, min(start + PIECE_FRAMES, end), start == first)
        for first, end in regions.tolist()
        for start in range(first, end, PIECE_FRAMES)
    ]


def _groups(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Yield pieces in groups of about `CHUNK_FRAMES`."""
    group: list[_Piece] = []
    n_frames = 0
    for piece in pieces:
        group.append(piece)
        n_frames += piece.end - piece.start
        if n_frames >= CHUNK_FRAMES:
            yield group
            group, n_frames = [], 0
    if group:
        yield group

"""pyannote.audio's speaker diarization as a `Diarizer`, imported only on demand.

The pipeline sees windows of half an hour, so that memory does not grow with the
recording. The voices of a window are those of the windows before it whose embeddings
are most similar; the embeddings are written nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from ser_batch.speech.diarization import (
    SAMPLE_RATE,
    Read,
    Voices,
    appearing,
    one_voice,
)
from ser_batch.speech.pyannote_models import load_pipeline
from ser_batch.speech.regions import Regions, inside, spans
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_cells import Cells
from ser_batch.speech.voice_diarizer import separation
from ser_batch.speech.voices import VoiceModel

if TYPE_CHECKING:
    from pyannote.core import Annotation

WINDOW_FRAMES = round(1800 / FRAME_S)
SAME_VOICE = 0.6
"""Cosine similarity of one voice in two windows, at least. Not calibrated."""
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE)

Active = Bool[np.ndarray, "frames voices"]
Embeddings = Float[np.ndarray, "voices values"]


class PyannoteDiarizer:
    """pyannote.audio's pipeline from a local folder or the hub.

    It gives no measure of doubt. So the voice model judges by how far apart the voices
    are that the pipeline tells apart.
    """

    def __init__(self, model: str, voices: VoiceModel) -> None:
        torch.set_num_threads(1)
        self._pipeline = load_pipeline(model, "--diarizer-model")
        self._model = voices

    def voices(self, read: Read, regions: Regions, least: int, most: int) -> Voices:
        """Return `least` to `most` voices in the speech regions of a channel."""
        if not len(regions):
            return one_voice(regions)
        n_frames = int(regions[-1, 1])
        n_windows = -(-n_frames // WINDOW_FRAMES)
        edges = np.linspace(0, n_frames, n_windows + 1).round().astype(int).tolist()
        # Of several windows, some may contain fewer voices.
        fewest = least if n_windows == 1 else 1
        windows = [
            self._window(read, slice(*edge), fewest, most) for edge in pairwise(edges)
        ]
        numbers = _matched([own.embeddings for own in windows], most)
        exclusive, active = (np.zeros((n_frames, most), bool) for _ in range(2))
        for (start, end), window, given in zip(
            pairwise(edges), windows, numbers, strict=True
        ):
            for column, number in enumerate(given):
                if number is not None:
                    exclusive[start:end, number] |= window.exclusive[:, column]
                    active[start:end, number] |= window.active[:, column]
        found = _voices(exclusive, active, regions)
        if len(found.regions) < 2:
            return found
        apart = self._separation(read, regions, found)
        confidence = self._model.expected_accuracy(apart)
        return replace(found, confidence=confidence, separation=apart)

    def _separation(self, read: Read, regions: Regions, found: Voices) -> float:
        """Return the distance between the closest two voices, as the model hears it."""
        cells = Cells(self._model, read, regions)
        middles = cells.spans.mean(1).astype(int)
        heard = [
            cells.points[inside(own, len(found.certainty))[middles]]
            for own in found.regions
        ]
        means = [points.mean(0) for points in heard if len(points)]
        return separation(np.stack(means)) if len(means) > 1 else 0.0

    def _window(self, read: Read, window: slice, least: int, most: int) -> "_Window":
        n_frames = window.stop - window.start
        samples = read(window.start * FRAME_SAMPLES, n_frames * FRAME_SAMPLES)
        file: dict[str, Any] = {
            "waveform": torch.from_numpy(samples)[None],
            "sample_rate": SAMPLE_RATE,
            "uri": "window",
        }
        output: Any = self._pipeline(file, min_speakers=least, max_speakers=most)
        labels = output.speaker_diarization.labels()[:most]
        return _Window(
            _frames(output.exclusive_speaker_diarization, labels, n_frames),
            _frames(output.speaker_diarization, labels, n_frames),
            np.nan_to_num(output.speaker_embeddings)[: len(labels)],
        )


@dataclass(frozen=True)
class _Window:
    """What the pipeline finds in a window."""

    exclusive: Active
    """Where each voice speaks; where two do, one of them."""
    active: Active
    """Where each voice speaks."""
    embeddings: Embeddings
    """That of each voice; zero if it speaks too little."""


def _frames(turns: "Annotation", labels: list[str], n_frames: int) -> Active:
    centres = (np.arange(n_frames) + 0.5) * FRAME_S
    frames = np.zeros((n_frames, len(labels)), bool)
    for turn, _, label in turns.itertracks(yield_label=True):
        if label in labels:
            within = (turn.start <= centres) & (centres < turn.end)
            frames[within, labels.index(label)] = True
    return frames


def _matched(windows: Sequence[Embeddings], most: int) -> list[list[int | None]]:
    """Return the number of each voice of each window, the same in all windows.

    The windows with the most voices come first. Pairs are chosen so that their cosine
    similarities have the largest sum. A voice that is like none before it is a new one,
    unless there are as many as there may be. One without an embedding has no number.
    """
    numbers: list[list[int | None]] = [[None] * len(own) for own in windows]
    known = list[np.ndarray]()
    for window in sorted(range(len(windows)), key=lambda i: -_n_known(windows[i])):
        length = np.linalg.norm(windows[window], axis=1)
        rows = np.flatnonzero(length)
        found = windows[window][rows] / length[rows, None]
        likeness = found @ np.stack(known).T if known else np.zeros((len(rows), 0))
        pairs = dict(zip(*linear_sum_assignment(-likeness), strict=True))
        for i, row in enumerate(rows):
            same = pairs.get(i)
            full = len(known) == most
            if same is not None and (full or likeness[i, same] >= SAME_VOICE):
                numbers[window][row] = int(same)
            elif full:
                numbers[window][row] = int(likeness[i].argmax())
            else:
                numbers[window][row] = len(known)
                known.append(found[i])
    return numbers


def _n_known(embeddings: Embeddings) -> int:
    return int(embeddings.any(1).sum())


def _voices(exclusive: Active, active: Active, regions: Regions) -> Voices:
    """Return the voices of speech regions.

    A frame of a region in which the pipeline finds no voice has that of the nearest
    frame of the region; a region without any could be anyone's.
    """
    unclear = exclusive.shape[1]
    owner = np.full(len(exclusive), -1)
    speech = np.zeros(len(exclusive), bool)
    for start, end in regions.tolist():
        speech[start:end] = True
        voiced = np.flatnonzero(exclusive[start:end].any(1))
        if not len(voiced):
            owner[start:end] = unclear
            continue
        middles = (voiced[1:] + voiced[:-1] + 1) // 2
        nearest = voiced[np.searchsorted(middles, np.arange(end - start), "right")]
        owner[start:end] = exclusive[start:end][nearest].argmax(1)
    is_clear = speech & (owner < unclear)
    behind = active & is_clear[:, None] & (owner[:, None] != np.arange(unclear))
    order = appearing(owner, behind)
    if len(order) < 2:
        return one_voice(regions)
    return Voices(
        [spans(owner == k) for k in order],
        spans(owner == unclear),
        speech.astype(np.float32),
        1.0,
        [spans(behind[:, k]) for k in order],
    )

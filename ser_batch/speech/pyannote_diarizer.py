"""pyannote.audio's speaker diarization as a `Diarizer`, imported only on demand.

The pipeline sees windows of half an hour, so that memory does not grow with the
recording. The voices of a window are those of the windows before it whose embeddings
are most similar; the embeddings are written nowhere.
"""

from dataclasses import replace
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
        n_frames = int(regions[-1, 1]) if len(regions) else 0
        known: Embeddings | None = None
        exclusive, active = (np.zeros((n_frames, most), bool) for _ in range(2))
        for start in range(0, n_frames, WINDOW_FRAMES):
            window = slice(start, min(start + WINDOW_FRAMES, n_frames))
            *own, embeddings = self._window(read, window, least, most)
            known, numbers = _matched(known, embeddings, most)
            for frames, heard in zip((exclusive, active), own, strict=True):
                for column, number in enumerate(numbers):
                    frames[window, number] |= heard[:, column]
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
        own = [inside(part, len(found.certainty))[middles] for part in found.regions]
        if not all(cell.any() for cell in own):
            return 0.0
        return separation(np.stack([cells.points[cell].mean(0) for cell in own]))

    def _window(
        self, read: Read, window: slice, least: int, most: int
    ) -> tuple[Active, Active, Embeddings]:
        """Return where each voice speaks alone or loudest, and where at all."""
        n_frames = window.stop - window.start
        samples = read(window.start * FRAME_SAMPLES, n_frames * FRAME_SAMPLES)
        file: dict[str, Any] = {
            "waveform": torch.from_numpy(samples)[None],
            "sample_rate": SAMPLE_RATE,
            "uri": "window",
        }
        output: Any = self._pipeline(file, min_speakers=least, max_speakers=most)
        labels = output.speaker_diarization.labels()[:most]
        exclusive, active = (
            _frames(own, labels, n_frames)
            for own in (
                output.exclusive_speaker_diarization,
                output.speaker_diarization,
            )
        )
        embeddings = np.nan_to_num(output.speaker_embeddings)[: len(labels)]
        return exclusive, active, embeddings


def _frames(turns: "Annotation", labels: list[str], n_frames: int) -> Active:
    centres = (np.arange(n_frames) + 0.5) * FRAME_S
    frames = np.zeros((n_frames, len(labels)), bool)
    for turn, _, label in turns.itertracks(yield_label=True):
        if label in labels:
            within = (turn.start <= centres) & (centres < turn.end)
            frames[within, labels.index(label)] = True
    return frames


def _matched(
    known: Embeddings | None, found: Embeddings, most: int
) -> tuple[Embeddings, list[int]]:
    """Return the voices known so far, and which of them each of a window's is.

    Pairs are chosen so that their cosine similarities have the largest sum. A voice
    that is left over is a new one, unless there are as many as there may be.
    """
    found = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)
    if known is None:
        return found, list(range(len(found)))
    similarity = found @ known.T
    rows, columns = linear_sum_assignment(-similarity)
    numbers = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    for row in range(len(found)):
        if row in numbers:
            continue
        if len(known) < most:
            numbers[row] = len(known)
            known = np.concatenate([known, found[row : row + 1]])
        else:
            numbers[row] = int(similarity[row].argmax())
    return known, [numbers[row] for row in range(len(found))]


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
    order = appearing(owner, unclear)
    if len(order) < 2:
        return one_voice(regions)
    return Voices(
        [spans(owner == k) for k in order],
        spans(owner == unclear),
        speech.astype(np.float32),
        1.0,
        [spans(behind[:, k]) for k in order],
    )

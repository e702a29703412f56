"""What the separation of two voices says: of their number, and of the errors."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from ser_batch.errors import CorpusError
from ser_batch.speech.diarization import Read, Samples
from ser_batch.speech.regions import inside
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.speakers import CONFIDENT
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_cells import Cells
from ser_batch.speech.voice_diarizer import VoiceDiarizer, overlapping
from ser_batch.speech.voices import STEP_S, VoiceModel
from ser_batch.training.voices.clips import Clips
from ser_batch.training.voices.conversations import (
    Conversation,
    paired,
    right_share,
    speech_of,
)

LENGTHS = (6, 12, 12, 24, 24, 40)
REJECTED = 0.9
"""The share of single voices that are not to be divided."""
OVERLAPPING, OVERLAPS = (12, 24), 0.15
PRECISION = 0.7
"""The share of the overlap found that is to be right."""


def calibrated(
    model: VoiceModel, clips: Clips, seed: int
) -> tuple[VoiceModel, dict[str, float]]:
    """Return the model with its confidence, and the figures that it rests on.

    Args:
        model: the voice model.
        clips: those of speakers that the model has never heard.
        seed: of the simulated conversations.

    Raises:
        CorpusError: there is too little speech.
    """
    pairs = list(paired(clips, LENGTHS, seed))
    alone = list(paired(clips, LENGTHS, seed, with_themselves=True))
    apart, right = _divided(model, pairs)
    within, _ = _divided(model, alone)
    if not len(right) or not len(within):
        raise CorpusError(
            "no conversation of the speakers to calibrate on has enough speech of both"
        )
    slope, offset = _logistic(apart, right)
    single = float(np.quantile(within, REJECTED))
    overlapping = paired(clips, OVERLAPPING, seed, overlaps=OVERLAPS)
    overlap_above, recall, precision, share = _overlap_above(model, overlapping)
    fitted = replace(
        model,
        confidence=(slope, offset),
        separation=single,
        overlap_above=overlap_above,
    )
    trusted = np.array([fitted.expected_accuracy(own) for own in within])
    figures = {
        "conversations": len(right),
        "accuracy": float(right.mean()),
        "lowest_accuracy": float(right.min()),
        "single_voices_divided": float((within >= single).mean()),
        "pairs_not_divided": 1 - float((apart >= single).sum()) / len(pairs),
        "single_voices_trusted": float((trusted >= CONFIDENT).mean()),
        "overlap_share": share,
        "overlap_recall": recall,
        "overlap_precision": precision,
    }
    return fitted, figures


def _divided(
    model: VoiceModel, found: Sequence[Conversation]
) -> tuple[np.ndarray, np.ndarray]:
    """Return separation and accuracy of conversations that are divided in two."""
    diarizer, vad = VoiceDiarizer(model), SileroVad()
    separations, accuracies = [], []
    for conversation in found:
        voices = diarizer.voices(
            read_from(conversation.samples), speech_of(conversation, vad), 2, 2
        )
        if len(voices.regions) == 2:
            separations.append(voices.separation)
            accuracies.append(right_share(conversation.turns, voices.regions, FRAME_S))
    return np.array(separations), np.array(accuracies)


def _overlap_above(
    model: VoiceModel, found: Iterable[Conversation]
) -> tuple[float, float, float, float]:
    """Return the lowest log odds of an overlap with sufficient precision.

    Also the recall and precision there, and the share of speech that is of two.
    """
    heard, vad = list[tuple[Cells, np.ndarray]](), SileroVad()
    for call in found:
        cells = Cells(model, read_from(call.samples), speech_of(call, vad))
        if len(cells.points):
            n_frames = int(cells.spans[-1, 1])
            steps = ((np.arange(n_frames) + 0.5) * FRAME_S / STEP_S).astype(int)
            heard.append((cells, call.both[np.minimum(steps, len(call.both) - 1)]))
    odds = np.concatenate([cells.overlap for cells, _ in heard])
    is_both = [both[cells.spans.mean(1).astype(int)] for cells, both in heard]
    precision, _, limits = precision_recall_curve(np.concatenate(is_both), odds)
    enough = np.flatnonzero(precision[:-1] >= PRECISION)
    above = float(limits[enough[0]]) if len(enough) else np.inf
    true_n = found_n = shared_n = speech_n = 0
    for cells, both in heard:
        speech = inside(cells.spans, len(both))
        marked = overlapping(cells, above, len(both))
        true_n += int((both & speech).sum())
        found_n += int(marked.sum())
        shared_n += int((both & marked).sum())
        speech_n += int(speech.sum())
    recall, right = shared_n / max(true_n, 1), shared_n / max(found_n, 1)
    return above, recall, right, true_n / speech_n


def read_from(samples: Samples) -> Read:
    """Return a function that reads from samples in memory, as a diarizer does."""

    def read(start: int, n: int) -> Samples:
        own = samples[start : start + n]
        return own if len(own) == n else np.pad(own, (0, n - len(own)))

    return read


def _logistic(separation: np.ndarray, accuracy: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the logistic curve from 0.5 to 1 that fits best.

    Every conversation counts as one that is right in the share `2 accuracy - 1`.
    """
    share = (2 * accuracy - 1).clip(0, 1)
    x = np.tile(separation, 2)[:, None]
    y = np.repeat([1, 0], len(separation))
    fitted = LogisticRegression(C=1e3).fit(x, y, np.concatenate([share, 1 - share]))
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])

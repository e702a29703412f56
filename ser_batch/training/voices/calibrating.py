"""What the separation of two voices says: of their number, and of the errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from ser_batch.errors import CorpusError
from ser_batch.speech.diarization import Read, Samples
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_diarizer import VoiceDiarizer
from ser_batch.speech.voices import VoiceModel
from ser_batch.training.voices.clips import Clips
from ser_batch.training.voices.conversations import (
    Conversation,
    accuracy,
    paired,
    speech_of,
)

LENGTHS = (6, 12, 12, 24, 24, 40)
REJECTED = 0.9
"""The share of single voices that are not to be divided."""


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
    figures = {
        "conversations": len(right),
        "accuracy": float(right.mean()),
        "lowest_accuracy": float(right.min()),
        "single_voices_divided": float((within >= single).mean()),
        "pairs_not_divided": 1 - float((apart >= single).sum()) / len(pairs),
    }
    return replace(model, confidence=(slope, offset), separation=single), figures


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
            accuracies.append(accuracy(conversation.turns, voices.regions, FRAME_S))
    return np.array(separations), np.array(accuracies)


def read_from(samples: Samples) -> Read:
    """Return a function that reads from samples in memory, as a diarizer does."""

    def read(start: int, n: int) -> Samples:
        own = samples[start : start + n]
        return np.pad(own, (0, n - len(own)))

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

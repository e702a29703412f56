"""Length, level and pitch of a corpus's clips, by label.

They reveal what does not transfer to other corpora: levels that differ by emotion, or
speakers whose pitch does not match their sex.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import librosa
import numpy as np

from ser_batch.training.corpora.labels import ordered_labels
from ser_batch.training.data.utterances import Utterance

PITCH_HZ = (60.0, 500.0)
LOWEST_FEMALE_HZ, HIGHEST_MALE_HZ = 140.0, 210.0
"""Medians of acted speech beyond these limits are rare (Traunmueller & Eriksson 1995:
mean pitch is about 120 Hz for men and 210 Hz for women)."""


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """Medians over the clips of one label."""

    label: str
    clips: int
    length_s: float
    level_dbfs: float
    pitch_hz: float


@dataclass(frozen=True, slots=True)
class ClipStatistics:
    """Length of one clip, its RMS level, and the median pitch of its louder frames."""

    length_s: float
    level_dbfs: float
    pitch_hz: float


def clip_statistics(waveform: np.ndarray, sample_rate: int) -> ClipStatistics:
    """Measure one clip with librosa.

    The pitch is the median of YIN (de Cheveigne & Kawahara 2002) over the louder half
    of the frames, most of which are voiced.
    """
    rms = librosa.feature.rms(y=waveform, frame_length=1024, hop_length=256)[0]
    low, high = PITCH_HZ
    pitch = librosa.yin(
        waveform, fmin=low, fmax=high, sr=sample_rate, frame_length=1024, hop_length=256
    )
    loud = rms >= np.median(rms)
    level = 20 * np.log10(max(float(np.sqrt(np.mean(waveform**2))), 1e-6))
    length_s = len(waveform) / sample_rate
    return ClipStatistics(length_s, level, float(np.median(pitch[loud])))


def by_label(
    utterances: Sequence[Utterance], statistics: Sequence[ClipStatistics]
) -> list[LabelStatistics]:
    """Return the medians over the clips of each label, in the usual order of labels."""
    groups: dict[str, list[ClipStatistics]] = defaultdict(list)
    for utterance, own in zip(utterances, statistics, strict=True):
        groups[utterance.clip.label].append(own)
    return [
        LabelStatistics(
            label,
            len(groups[label]),
            float(np.median([s.length_s for s in groups[label]])),
            float(np.median([s.level_dbfs for s in groups[label]])),
            float(np.median([s.pitch_hz for s in groups[label]])),
        )
        for label in ordered_labels(list(groups))
    ]


def doubtful_sexes(
    utterances: Sequence[Utterance], statistics: Sequence[ClipStatistics]
) -> list[str]:
    """Return the speakers whose median pitch does not match their stated sex."""
    pitches: dict[tuple[str, str], list[float]] = defaultdict(list)
    for utterance, own in zip(utterances, statistics, strict=True):
        pitches[utterance.clip.speaker, utterance.clip.sex].append(own.pitch_hz)
    doubtful = []
    for (speaker, sex), values in sorted(pitches.items()):
        pitch = float(np.median(values))
        low = sex == "f" and pitch < LOWEST_FEMALE_HZ
        high = sex == "m" and pitch > HIGHEST_MALE_HZ
        if low or high:
            doubtful.append(f"{speaker} ({sex}, {pitch:.0f} Hz)")
    return doubtful

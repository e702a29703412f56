"""Clips by speaker: of emotion corpora, and of a folder of readers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from ser_batch.audio.opening import read_mono
from ser_batch.speech.diarization import SAMPLE_RATE
from ser_batch.speech.voices import LEVEL
from ser_batch.training.corpora.clips import Corpus, is_unknown_speaker
from ser_batch.training.corpora.files import corpus_files
from ser_batch.training.places.stored_segments import open_segments

SHORTEST_S = 0.3
EDGE = 0.02
"""Clips of readers are trimmed to where they exceed this share of their peak."""
TEMPI = (1.0, 0.85, 0.92, 1.08, 1.16)
"""A voice at another tempo and pitch counts as another speaker."""


@dataclass(frozen=True)
class Clips:
    """Clips at `LEVEL`, in 16-bit floats, and the speaker of each."""

    waveforms: list[np.ndarray]
    speakers: list[str]

    def of(self, chosen: Callable[[str], bool]) -> "Clips":
        """Return the clips of some speakers."""
        kept = [i for i, speaker in enumerate(self.speakers) if chosen(speaker)]
        return Clips(
            [self.waveforms[i] for i in kept], [self.speakers[i] for i in kept]
        )

    def at_tempi(self) -> "Clips":
        """Return the clips at all tempi, each with speakers of its own."""
        waveforms, speakers = list[np.ndarray](), list[str]()
        for waveform, speaker in zip(self.waveforms, self.speakers, strict=True):
            for tempo in TEMPI:
                changed = soxr.resample(
                    waveform.astype(np.float32), SAMPLE_RATE * tempo, SAMPLE_RATE
                )
                waveforms.append(changed.astype(np.float16))
                speakers.append(f"{speaker}@{tempo}")
        return Clips(waveforms, speakers)


def read_clips(corpora: Sequence[Corpus], readers: Path | None, work: Path) -> Clips:
    """Read the segments of emotion corpora, and the sentences of readers.

    Args:
        corpora: emotion corpora; clips of unknown speakers are left out.
        readers: a folder of files named READER-CHAPTER-SENTENCE, as in LibriSpeech.
        work: where the segments of the corpora are kept.
    """
    waveforms, speakers = list[np.ndarray](), list[str]()
    if corpora:
        segments = open_segments(work, corpora)
        for waveform, speaker in zip(segments.waveforms, segments.speaker, strict=True):
            if not is_unknown_speaker(speaker):
                waveforms.append(waveform)
                speakers.append(str(speaker))
    for file in corpus_files(readers) if readers else ():
        with file.on_disk() as path:
            waveform = read_mono(path, SAMPLE_RATE)
        loud = np.flatnonzero(np.abs(waveform) > EDGE * np.abs(waveform).max())
        if len(loud):
            waveforms.append(waveform[loud[0] : loud[-1] + 1])
            speakers.append(f"readers/{file.stem.split('-')[0]}")
    kept = [i for i, w in enumerate(waveforms) if len(w) >= SHORTEST_S * SAMPLE_RATE]
    return Clips([_levelled(waveforms[i]) for i in kept], [speakers[i] for i in kept])


def _levelled(waveform: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.square(waveform).mean()) + 1e-6
    return (waveform / rms * LEVEL).astype(np.float16)

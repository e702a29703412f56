"""Clips to utterances: decoded once, and cut to their speech as analysis would do it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_batch.audio.opening import read_mono
from ser_batch.config.options import VadConfig
from ser_batch.errors import AudioError, CorpusError
from ser_batch.intervals import sample_index
from ser_batch.sources.formats import named_as_audio
from ser_batch.speech.regions import speech_regions
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import FRAME_S, SAMPLE_RATE
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.corpora.labels import meanings

MARGIN_S = 0.3
"""Silence kept at both ends of a clip's speech, where there is some; training draws how much of it."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The waveform of one clip around its speech, which is [speech_start, speech_end) in samples."""

    clip: Clip
    waveform: np.ndarray
    speech_start: int
    speech_end: int

    @property
    def speech(self) -> np.ndarray:
        """The samples of the speech alone."""
        return self.waveform[self.speech_start : self.speech_end]

    def pcm(self) -> bytes:
        """Return the waveform as 16-bit samples: what tells one sound from another."""
        return np.round(self.waveform * 32767).astype("<i2").tobytes()


def load_utterances(
    clips: Sequence[Clip],
    sample_rate: int,
    trim_silence: bool,
    progress: Callable[[Sequence[Clip]], Iterator[Clip]],
) -> tuple[list[Utterance], dict[Clip, str]]:
    """Decodes all clips, and cuts them to their speech if asked to; and why each of the others cannot be read.

    A clip without any speech found in it is taken whole.
    """
    vad = SileroVad() if trim_silence else None
    utterances, broken = [], {}
    for clip in progress(clips):
        try:
            with clip.file() as path:
                wave = excerpt(read_mono(path, sample_rate), sample_rate, clip)
                wide = (
                    excerpt(read_mono(path, SAMPLE_RATE), SAMPLE_RATE, clip)
                    if vad
                    else wave
                )
        except (AudioError, OSError) as error:
            broken[clip] = str(error)
            continue
        start, end = _speech(vad, wide, wave, sample_rate) if vad else (0, len(wave))
        margin = sample_index(MARGIN_S, sample_rate)
        first = max(0, start - margin)
        utterances.append(
            Utterance(
                clip, wave[first : end + margin].copy(), start - first, end - first
            )
        )
    return utterances, broken


def excerpt(wave: np.ndarray, sample_rate: int, clip: Clip) -> np.ndarray:
    """Return the part of a recording that is the clip.

    Raises:
        AudioError: the recording ends before it.
    """
    end = len(wave) if clip.end_s is None else sample_index(clip.end_s, sample_rate)
    part = wave[sample_index(clip.start_s, sample_rate) : end]
    if not len(part):
        raise AudioError(
            f"lasts {len(wave) / sample_rate:.2f} s, and ends before {clip.start_s:g} s"
        )
    return part


def _speech(
    vad: SileroVad, wide: np.ndarray, wave: np.ndarray, sample_rate: int
) -> tuple[int, int]:
    stream = vad.stream()
    regions = speech_regions(
        np.concatenate([stream.push(wide), stream.finish()]), VadConfig()
    )
    if not len(regions):
        return 0, len(wave)
    return sample_index(regions[0, 0] * FRAME_S, sample_rate), min(
        sample_index(regions[-1, 1] * FRAME_S, sample_rate), len(wave)
    )


def load_noises(folder: Path | None, sample_rate: int) -> list[np.ndarray]:
    """Every recording under a folder as a waveform of noise; none without a folder.

    Raises:
        CorpusError: there is none, or one cannot be read.
    """
    if folder is None:
        return []
    paths = [path for path in sorted(folder.rglob("*")) if named_as_audio(path.name)]
    if not paths:
        raise CorpusError(f"{folder}: no audio file is here to take noise from")
    noises = []
    for path in paths:
        try:
            noises.append(read_mono(path, sample_rate))
        except AudioError as error:
            raise CorpusError(f"{path}: {error}") from error
    return noises


def fingerprint(utterances: Sequence[Utterance]) -> str:
    """A hash of what a model was trained on: names, labels and samples, in order."""
    digest = hashlib.sha256()
    for utterance in utterances:
        clip = utterance.clip
        digest.update(f"{clip.corpus}/{clip.speaker}/{clip.name}/{clip.label}".encode())
        digest.update(utterance.pcm())
    return digest.hexdigest()


def right_labels(
    clips: Sequence[Clip],
    labels: Sequence[str],
    corpus_labels: Mapping[str, Sequence[str]],
) -> tuple[np.ndarray, np.ndarray]:
    """The label numbers of clips, and which labels are right for each (clip, label)."""
    number = {label: i for i, label in enumerate(labels)}
    right = np.zeros((len(clips), len(labels)), bool)
    for row, clip in zip(right, clips, strict=True):
        row[
            [
                number[label]
                for label in meanings(clip.label, corpus_labels[clip.corpus])
                if label in number
            ]
        ] = True
    return np.array([number[clip.label] for clip in clips], int), right

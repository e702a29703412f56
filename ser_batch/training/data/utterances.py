"""Decoding of clips into utterances, trimmed to their speech as `ser analyze` does."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""Silence kept on both sides of a clip's speech, as far as there is any [s]. Training
draws how much of it is used."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The waveform of one clip; its speech is [speech_start, speech_end) [samples]."""

    clip: Clip
    waveform: np.ndarray
    speech_start: int
    speech_end: int

    @property
    def speech(self) -> np.ndarray:
        """The samples of the speech alone."""
        return self.waveform[self.speech_start : self.speech_end]

    def pcm(self) -> bytes:
        """Return the waveform as 16-bit samples, for hashing."""
        return np.round(self.waveform * 32767).astype("<i2").tobytes()


def load_utterances(
    clips: Sequence[Clip],
    sample_rate: int,
    trim_silence: bool,
    progress: Callable[[Sequence[Clip]], Iterator[Clip]],
) -> tuple[list[Utterance], dict[Clip, str]]:
    """Decode all clips, and trim them to their speech if asked to.

    A clip in which no speech is detected is kept whole.

    Returns:
        The utterances, and the error of each clip that cannot be read.
    """
    vad = SileroVad() if trim_silence else None
    utterances, broken = [], {}
    for clip in progress(clips):
        try:
            with clip.file() as path:
                wave = excerpt(read_mono(path, sample_rate), sample_rate, clip)
                # Decoded again for the VAD, which has its own sample rate.
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
    """Cut a clip out of the waveform of its file.

    Raises:
        AudioError: the file ends before the clip starts.
    """
    end = len(wave) if clip.end_s is None else sample_index(clip.end_s, sample_rate)
    part = wave[sample_index(clip.start_s, sample_rate) : end]
    if not len(part):
        raise AudioError(
            f"the file is {len(wave) / sample_rate:.2f} s long and ends before the "
            f"clip starts, at {clip.start_s:g} s"
        )
    return part


def _speech(
    vad: SileroVad, wide: np.ndarray, wave: np.ndarray, sample_rate: int
) -> tuple[int, int]:
    """Return the samples from the first speech region to the last, or of all."""
    stream = vad.stream()
    regions = speech_regions(
        np.concatenate([stream.push(wide), stream.finish()]), VadConfig()
    )
    if not len(regions):
        return 0, len(wave)
    return sample_index(regions[0, 0] * FRAME_S, sample_rate), min(
        sample_index(regions[-1, 1] * FRAME_S, sample_rate), len(wave)
    )


def load_noises(
    folder: Path | None,
    sample_rate: int,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> list[np.ndarray]:
    """Load all noise recordings under a folder; an empty list without a folder.

    Args:
        folder: where they are.
        sample_rate: the rate to load them at, in Hz.
        progress: wraps the list of files, for example to show a progress bar.

    Raises:
        CorpusError: there are none, or one cannot be read.
    """
    if folder is None:
        return []
    paths = [path for path in sorted(folder.rglob("*")) if named_as_audio(path.name)]
    if not paths:
        raise CorpusError(f"{folder}: no audio files to use as noise")
    noises = []
    for path in progress(paths):
        try:
            noises.append(read_mono(path, sample_rate))
        except AudioError as error:
            raise CorpusError(f"{path}: {error}") from error
    return noises


def fingerprint(utterances: Sequence[Utterance]) -> str:
    """Return a hash of the names, labels and samples of utterances, in order."""
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
    """Return the label indices of clips, and which labels are correct for each.

    Shape:
        (clips) and (clips, labels).
    """
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

"""Clips to batches: decoded once, cut to their speech as analysis would cut it, augmented on the fly."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ser_batch.audio import read_mono
from ser_batch.config import VadConfig
from ser_batch.errors import AudioError, CorpusError
from ser_batch.formats import named_as_audio
from ser_batch.regions import speech_regions
from ser_batch.timeline import samples
from ser_batch.training.augmentation import AugmentationConfig, Line
from ser_batch.training.corpora import Clip, is_nobody, meanings
from ser_batch.training.recipe import DataConfig
from ser_batch.vad import FRAME_S, SAMPLE_RATE, SileroVad

MARGIN_S = 0.3
"""Silence kept at both ends of a clip's speech, where there is some; training draws how much of it."""
CALLS_PER_CHUNK = 8
"""Where clips have context, so many calls are loaded at once and then divided into batches."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The waveform of one clip around its speech, which is [speech_start, speech_end) in samples."""

    clip: Clip
    waveform: np.ndarray
    speech_start: int
    speech_end: int

    @property
    def speech(self) -> np.ndarray:
        return self.waveform[self.speech_start : self.speech_end]


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
                wave = _excerpt(read_mono(path, sample_rate), sample_rate, clip)
                wide = _excerpt(read_mono(path, SAMPLE_RATE), SAMPLE_RATE, clip) if vad else wave
        except (AudioError, OSError) as error:
            broken[clip] = str(error)
            continue
        start, end = _speech(vad, wide, wave, sample_rate) if vad else (0, len(wave))
        margin = samples(MARGIN_S, sample_rate)
        first = max(0, start - margin)
        utterances.append(Utterance(clip, wave[first : end + margin].copy(), start - first, end - first))
    return utterances, broken


def _excerpt(wave: np.ndarray, sample_rate: int, clip: Clip) -> np.ndarray:
    end = len(wave) if clip.end_s is None else samples(clip.end_s, sample_rate)
    part = wave[samples(clip.start_s, sample_rate) : end]
    if not len(part):
        raise AudioError(f"lasts {len(wave) / sample_rate:.2f} s, and ends before {clip.start_s:g} s")
    return part


def _speech(vad: SileroVad, wide: np.ndarray, wave: np.ndarray, sample_rate: int) -> tuple[int, int]:
    stream = vad.stream()
    regions = speech_regions(np.concatenate([stream.push(wide), stream.finish()]), VadConfig())
    if not len(regions):
        return 0, len(wave)
    return samples(regions[0, 0] * FRAME_S, sample_rate), min(samples(regions[-1, 1] * FRAME_S, sample_rate), len(wave))


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
        digest.update(np.round(utterance.waveform * 32767).astype("<i2").tobytes())
    return digest.hexdigest()


def right_labels(
    clips: Sequence[Clip], labels: Sequence[str], corpus_labels: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """The label numbers of clips, and which labels are right for each (clip, label)."""
    number = {label: i for i, label in enumerate(labels)}
    right = np.zeros((len(clips), len(labels)), bool)
    for row, clip in zip(right, clips, strict=True):
        row[[number[label] for label in meanings(clip.label, corpus_labels[clip.corpus]) if label in number]] = True
    return np.array([number[clip.label] for clip in clips], int), right


@dataclass(frozen=True, slots=True)
class Call:
    """Utterances, by their numbers, that come over one line; the seed draws that line, and margins."""

    utterances: tuple[int, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Zero-padded waveforms (batch, samples), their lengths, which labels are right (batch, label), and the call
    (batch) that each belongs to."""

    waveforms: Tensor
    lengths: Tensor
    right: Tensor
    calls: Tensor

    def pin_memory(self) -> "Batch":
        return Batch(*(getattr(self, name).pin_memory() for name in ("waveforms", "lengths", "right", "calls")))


class Calls(Dataset):
    """Calls, made from utterances as they are asked for."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        right: np.ndarray,
        augmentation: AugmentationConfig,
        sample_rate: int,
        noises: Sequence[np.ndarray] = (),
    ) -> None:
        self.utterances, self._right, self._rate, self._noises = utterances, right, sample_rate, noises
        self._augmentation = augmentation
        self._peaks = [float(np.abs(u.speech).max(initial=0)) for u in utterances]
        self._powers = [float(np.mean(u.speech**2)) for u in utterances]

    def __getitem__(self, call: Call) -> list[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(call.seed)
        line = Line.draw(self._augmentation, len(self._noises), rng)
        peak = max(self._peaks[i] for i in call.utterances)
        power = float(np.mean([self._powers[i] for i in call.utterances]))
        items = []
        for i in call.utterances:
            u = self.utterances[i]
            start, end = rng.integers(u.speech_start + 1), rng.integers(u.speech_end, len(u.waveform) + 1)
            wave = line.carry(u.waveform[start:end], self._rate, peak, power, self._noises, rng)
            items.append((wave, self._right[i]))
        return items


def collate(calls: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> Batch:
    """One batch of all clips of some calls."""
    waves = [wave for call in calls for wave, _ in call]
    waveforms, lengths = padded(waves)
    right = torch.from_numpy(np.stack([right for call in calls for _, right in call]))
    numbers = torch.tensor([number for number, call in enumerate(calls) for _ in call])
    return Batch(waveforms, lengths, right, numbers)


def padded(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Waveforms with zeros behind their ends (batch, samples), and their lengths."""
    lengths = torch.tensor([len(wave) for wave in waves])
    waveforms = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(waveforms, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return waveforms, lengths


def epoch_calls(
    utterances: Sequence[Utterance], config: DataConfig, batch_size: int, seed: int, epoch: int
) -> list[list[Call]]:
    """The calls of one epoch, chunk by chunk: of each corpus its share, every utterance at most once.

    The draw depends on seed and epoch alone, so that a resumed training sees what an undisturbed one sees.
    """
    rng = np.random.default_rng([seed, epoch])
    by_speaker: dict[tuple[str, str], list[int]] = {}
    for number, utterance in enumerate(utterances):
        by_speaker.setdefault((utterance.clip.corpus, utterance.clip.speaker), []).append(number)
    groups = []
    for (corpus, speaker), own in by_speaker.items():
        drawn = rng.permutation(own)[: max(1, round(config.corpus_shares.get(corpus, 1.0) * len(own)))]
        # Clips of nobody knows whom are no context of each other.
        size = 1 if is_nobody(speaker) else config.clips_per_call
        groups += [drawn[i : i + size] for i in range(0, len(drawn), size)]
    calls = [
        Call(tuple(int(i) for i in groups[g]), (seed, epoch, n)) for n, g in enumerate(rng.permutation(len(groups)))
    ]
    size = batch_size if config.clips_per_call == 1 else CALLS_PER_CHUNK
    chunks = [calls[i : i + size] for i in range(0, len(calls), size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [chunks[-2] + chunks[-1]]  # batch normalisation needs more than one clip
    return chunks


def loader(dataset: Calls, chunks: list[list[Call]], workers: int, pin_memory: bool) -> DataLoader:
    """Chunks in the given order, augmented in `workers` processes."""
    return DataLoader(dataset, batch_sampler=chunks, collate_fn=collate, num_workers=workers, pin_memory=pin_memory)

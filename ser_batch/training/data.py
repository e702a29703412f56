"""Clips to batches: decoded once, cut to their speech as analysis would cut it, augmented on the fly."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ser_batch.audio import read_mono
from ser_batch.config import VadConfig
from ser_batch.errors import AudioError, CorpusError
from ser_batch.formats import named_as_audio
from ser_batch.regions import speech_regions
from ser_batch.timeline import samples
from ser_batch.training.augmentation import Telephone
from ser_batch.training.corpora import Clip, meanings
from ser_batch.vad import FRAME_S, SAMPLE_RATE, SileroVad

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
        return self.waveform[self.speech_start : self.speech_end]


def load_utterances(
    clips: Sequence[Clip], sample_rate: int, progress: Callable[[Sequence[Clip]], Iterator[Clip]]
) -> list[Utterance]:
    """Decodes all clips. A clip without any speech found in it is taken whole.

    Raises:
        CorpusError: a clip cannot be read.
    """
    vad = SileroVad()
    utterances = []
    for clip in progress(clips):
        try:
            wide = read_mono(clip.path, SAMPLE_RATE)
            narrow = read_mono(clip.path, sample_rate)
        except AudioError as error:
            raise CorpusError(f"{clip.path}: {error}") from error
        stream = vad.stream()
        regions = speech_regions(np.concatenate([stream.push(wide), stream.finish()]), VadConfig())
        start_s, end_s = (regions[0, 0] * FRAME_S, regions[-1, 1] * FRAME_S) if len(regions) else (0.0, np.inf)
        start, end = samples(start_s, sample_rate), min(samples(min(end_s, 3600), sample_rate), len(narrow))
        margin = samples(MARGIN_S, sample_rate)
        first = max(0, start - margin)
        utterances.append(Utterance(clip, narrow[first : end + margin].copy(), start - first, end - first))
    return utterances


def load_noises(folder: Path | None, sample_rate: int) -> list[np.ndarray]:
    """Every recording under a folder as a waveform of noise; none without a folder."""
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
        digest.update(f"{clip.corpus}/{clip.speaker}/{clip.path.stem}/{clip.label}".encode())
        digest.update(np.round(utterance.waveform * 32767).astype("<i2").tobytes())
    return digest.hexdigest()


Key = tuple[int, tuple[int, ...] | None]
"""The number of an utterance, and the seed of its augmentation: None takes the bare speech."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Zero-padded waveforms (batch, samples), their lengths, and which labels are right (batch, label)."""

    waveforms: Tensor
    lengths: Tensor
    right: Tensor


class Utterances(Dataset):
    """Utterances by `Key`: a seed draws margins and augmentation."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        labels: Sequence[str],
        corpus_labels: Mapping[str, Sequence[str]],
        augment: Telephone,
    ) -> None:
        self.utterances, self.augment = utterances, augment
        self.corpora = sorted({utterance.clip.corpus for utterance in utterances})
        self._number = {label: i for i, label in enumerate(labels)}
        self._right = {
            (corpus, own): torch.tensor([label in meanings(own, known) for label in labels])
            for corpus, known in corpus_labels.items()
            for own in known
        }

    def __getitem__(self, key: Key) -> tuple[np.ndarray, Tensor]:
        index, seed = key
        utterance = self.utterances[index]
        if seed is None:
            waveform = utterance.speech
        else:
            rng = np.random.default_rng(seed)
            start = rng.integers(utterance.speech_start + 1)
            end = rng.integers(utterance.speech_end, len(utterance.waveform) + 1)
            waveform = self.augment(utterance.waveform[start:end], rng)
        clip = utterance.clip
        return waveform, self._right[clip.corpus, clip.label]

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """The label numbers of all utterances, and which labels are right (utterance, label)."""
        clips = [utterance.clip for utterance in self.utterances]
        labels = np.array([self._number[clip.label] for clip in clips])
        return labels, torch.stack([self._right[clip.corpus, clip.label] for clip in clips]).numpy()


def collate(items: Sequence[tuple[np.ndarray, Tensor]]) -> Batch:
    """Pads waveforms with zeros behind their ends."""
    lengths = [len(waveform) for waveform, _ in items]
    waveforms = torch.zeros(len(items), max(lengths))
    for row, (waveform, _) in zip(waveforms, items, strict=True):
        row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform))
    return Batch(
        waveforms,
        torch.tensor(lengths),
        torch.stack([right for _, right in items]),
    )


class BalancedBatches(Sampler):
    """Batches of one epoch, drawn so that corpora count as `weights` say and labels within a corpus alike.

    The draw depends on seed and epoch alone, so that a resumed training sees what an undisturbed one sees.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        weights: dict[str, float],
        n_samples: int,
        batch_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        kinds = [(u.clip.corpus, u.clip.label) for u in utterances]
        count = Counter(kinds)
        n_labels = Counter(corpus for corpus, _ in count)
        share = np.array([weights[corpus] / n_labels[corpus] / count[corpus, label] for corpus, label in kinds])
        rng = np.random.default_rng([seed, epoch])
        drawn = rng.choice(len(kinds), n_samples, p=share / share.sum())
        keys: list[Key] = [(int(index), (seed, epoch, i)) for i, index in enumerate(drawn)]
        self._batches = [keys[i : i + batch_size] for i in range(0, n_samples, batch_size)]

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def ordered_batches(n: int, batch_size: int, seed: int | None) -> list[list[Key]]:
    """Every utterance once, in order: bare, or augmented in the way that a seed fixes."""
    keys: list[Key] = [(i, None if seed is None else (seed, i)) for i in range(n)]
    return [keys[i : i + batch_size] for i in range(0, n, batch_size)]


def loader(dataset: Utterances, batches: Iterable[list[Key]], workers: int) -> DataLoader:
    """Batches in the given order, augmented in `workers` processes."""
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers)

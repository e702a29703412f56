"""Utterances to batches: simulated calls over one line each, augmented on the fly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ser_batch.emotion.batches import padded
from ser_batch.training.corpora.clips import is_nobody
from ser_batch.training.data.augmentation import AugmentationConfig, Line
from ser_batch.training.data.options import DataConfig
from ser_batch.training.data.utterances import Utterance

CALLS_PER_CHUNK = 8
"""Where clips have context, so many calls are loaded at once and then divided into batches."""


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """Utterances, by their numbers, that come over one line; the seed draws that line, and margins."""

    utterances: tuple[int, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Zero-padded waveforms (batch, samples), their lengths, which labels are right (batch, label), and the call
    (batch) that each belongs to."""

    waveforms: Tensor
    lengths: Tensor
    right: Tensor
    calls: Tensor

    def pin_memory(self) -> "ClipBatch":
        return ClipBatch(
            *(
                getattr(self, name).pin_memory()
                for name in ("waveforms", "lengths", "right", "calls")
            )
        )


class SimulatedCalls(Dataset):
    """SimulatedCalls, made from utterances as they are asked for."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        right: np.ndarray,
        augmentation: AugmentationConfig,
        sample_rate: int,
        noises: Sequence[np.ndarray] = (),
    ) -> None:
        self.utterances, self._right, self._rate, self._noises = (
            utterances,
            right,
            sample_rate,
            noises,
        )
        self._augmentation = augmentation
        self._peaks = [float(np.abs(u.speech).max(initial=0)) for u in utterances]
        self._powers = [float(np.mean(u.speech**2)) for u in utterances]

    def __getitem__(self, call: SimulatedCall) -> list[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(call.seed)
        line = Line.draw(self._augmentation, len(self._noises), rng)
        peak = max(self._peaks[i] for i in call.utterances)
        power = float(np.mean([self._powers[i] for i in call.utterances]))
        items = []
        for i in call.utterances:
            u = self.utterances[i]
            start, end = (
                rng.integers(u.speech_start + 1),
                rng.integers(u.speech_end, len(u.waveform) + 1),
            )
            wave = line.carry(
                u.waveform[start:end], self._rate, peak, power, self._noises, rng
            )
            items.append((wave, self._right[i]))
        return items


def collate(calls: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> ClipBatch:
    """One batch of all clips of some calls."""
    waves = [wave for call in calls for wave, _ in call]
    waveforms, lengths = padded(waves)
    right = torch.from_numpy(np.stack([right for call in calls for _, right in call]))
    numbers = torch.tensor([number for number, call in enumerate(calls) for _ in call])
    return ClipBatch(waveforms, lengths, right, numbers)


def epoch_calls(
    utterances: Sequence[Utterance],
    config: DataConfig,
    batch_size: int,
    seed: int,
    epoch: int,
) -> list[list[SimulatedCall]]:
    """The calls of one epoch, chunk by chunk: of each corpus its share, every utterance at most once.

    The draw depends on seed and epoch alone, so that a resumed training sees what an undisturbed one sees.
    """
    rng = np.random.default_rng([seed, epoch])
    by_speaker: dict[tuple[str, str], list[int]] = {}
    for number, utterance in enumerate(utterances):
        by_speaker.setdefault(
            (utterance.clip.corpus, utterance.clip.speaker), []
        ).append(number)
    groups = []
    for (corpus, speaker), own in by_speaker.items():
        drawn = rng.permutation(own)[
            : max(1, round(config.corpus_shares.get(corpus, 1.0) * len(own)))
        ]
        # Clips of nobody knows whom are no context of each other.
        size = 1 if is_nobody(speaker) else config.clips_per_call
        groups += [drawn[i : i + size] for i in range(0, len(drawn), size)]
    calls = [
        SimulatedCall(tuple(int(i) for i in groups[g]), (seed, epoch, n))
        for n, g in enumerate(rng.permutation(len(groups)))
    ]
    size = batch_size if config.clips_per_call == 1 else CALLS_PER_CHUNK
    chunks = [calls[i : i + size] for i in range(0, len(calls), size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [
            chunks[-2] + chunks[-1]
        ]  # batch normalisation needs more than one clip
    return chunks


def loader(
    dataset: SimulatedCalls,
    chunks: list[list[SimulatedCall]],
    workers: int,
    pin_memory: bool,
) -> DataLoader:
    """Chunks in the given order, augmented in `workers` processes."""
    return DataLoader(
        dataset,
        batch_sampler=chunks,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
    )

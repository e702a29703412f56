"""Batches of utterances in simulated calls, each augmented on the fly with one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ser_batch.emotion.batches import padded
from ser_batch.training.corpora.clips import is_unknown_speaker
from ser_batch.training.data.augmentation import AugmentationConfig, Line
from ser_batch.training.data.options import DataConfig
from ser_batch.training.data.utterances import Utterance

CALLS_PER_CHUNK = 8
"""With context, this many calls are loaded together and then divided into batches."""


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """Indices of utterances that share a line; the seed draws the line and margins."""

    utterances: tuple[int, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """A batch of clips.

    Shape:
        waveforms: (batch, samples), zero-padded.
        lengths: (batch), in samples.
        right: (batch, labels), whether each label is correct.
        calls: (batch), the index of the call that each clip belongs to.
    """

    waveforms: Tensor
    lengths: Tensor
    right: Tensor
    calls: Tensor

    def pin_memory(self) -> "ClipBatch":
        """Copy the batch to pinned memory, as the data loader asks for it."""
        return ClipBatch(
            *(
                getattr(self, name).pin_memory()
                for name in ("waveforms", "lengths", "right", "calls")
            )
        )


class SimulatedCalls(Dataset[list[tuple[np.ndarray, np.ndarray]]]):
    """A data set of simulated calls, each made from its utterances on access."""

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
    """Combine all clips of several calls into one batch."""
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
    """Draw the calls of one epoch, in chunks.

    Each corpus contributes its share, and no utterance occurs twice. The draw depends
    only on the seed and the epoch, so a resumed run sees the same data as one that was
    never interrupted.
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
        # Clips of unknown speakers may differ in speaker, so they share no context.
        size = 1 if is_unknown_speaker(speaker) else config.clips_per_call
        groups += [drawn[i : i + size] for i in range(0, len(drawn), size)]
    calls = [
        SimulatedCall(tuple(int(i) for i in groups[g]), (seed, epoch, n))
        for n, g in enumerate(rng.permutation(len(groups)))
    ]
    size = batch_size if config.clips_per_call == 1 else CALLS_PER_CHUNK
    chunks = [calls[i : i + size] for i in range(0, len(calls), size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        # Batch normalisation needs more than one clip.
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    return chunks


def loader(
    dataset: SimulatedCalls,
    chunks: list[list[SimulatedCall]],
    workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    """Return a loader of chunks in the given order, with `workers` processes."""
    return DataLoader(
        dataset,
        batch_sampler=chunks,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
    )

"""Simulated conversations of two voices on one telephone line, with known turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Self

import numpy as np
import soxr
from jaxtyping import Bool, Float32

from ser_batch.config.options import VadConfig
from ser_batch.speech.diarization import SAMPLE_RATE
from ser_batch.speech.regions import (
    Regions,
    close_gaps,
    inside,
    spans,
    speech_regions,
)
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import SAMPLE_RATE as VAD_RATE
from ser_batch.speech.voices import LEVEL, STEP_S
from ser_batch.training.data.augmentation import band_limit, through_codec
from ser_batch.training.voices.clips import Clips

CLIPS_OF_TURN = 3
PAUSE_S, GAP_S = 0.15, (0.1, 0.8)
LEVEL_DB = 5.0
"""Each voice is louder or fainter by up to this much."""
OVERLAP_S = (0.2, 2.0)
"""How long before the end of a turn the next one begins, if they overlap."""
AUDIBLE = 0.06
"""A voice speaks where its level is above this share of its level overall."""
STEP = round(STEP_S * SAMPLE_RATE)
CLOSED_STEPS = 6


@dataclass(frozen=True)
class Line:
    """A telephone line: the edges of its band, and the level of its noise."""

    low_hz: float = 300.0
    high_hz: float = 3400.0
    noise: float = 1e-3

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """Return a line as there are many."""
        noise = 10 ** rng.uniform(-3.5, -2.2)
        return cls(rng.uniform(100, 320), rng.uniform(3200, 3900), noise)


@dataclass(frozen=True)
class Conversation:
    """A conversation at 8 kHz, and who speaks when."""

    samples: Float32[np.ndarray, " samples"]
    turns: list[tuple[float, float, int]]
    """Start and end in seconds, and 0 or 1."""
    active: Bool[np.ndarray, "2 steps"]
    """Whether each voice can be heard, in steps of `STEP_S`."""

    @property
    def both(self) -> Bool[np.ndarray, " steps"]:
        """Whether both voices can be heard."""
        return self.active[0] & self.active[1]


def converse(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    n_turns: int,
    rng: np.random.Generator,
    overlaps: float = 0.0,
    line: Line = Line(),
) -> Conversation:
    """Return a conversation of turns of one to three clips of each voice.

    Args:
        first: the clips of one voice.
        second: those of the other.
        n_turns: the number of turns.
        rng: for all random draws.
        overlaps: the share of turns that begin before the one before them ends.
        line: the telephone line.
    """
    gain = 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB, 2) / 20)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE))
    placed, ends, start = list[tuple[int, np.ndarray, int]](), [0, 0], 0
    for number in range(n_turns):
        who = number % 2
        own = (first, second)[who]
        drawn = rng.choice(
            len(own), min(len(own), int(rng.integers(1, CLIPS_OF_TURN + 1))), False
        )
        turn = np.concatenate([part for i in drawn for part in (own[i], pause)])
        turn = turn[: len(turn) - len(pause)] * gain[who]
        if number and overlaps and rng.random() < overlaps:
            before = max(ends) - round(rng.uniform(*OVERLAP_S) * SAMPLE_RATE)
            start = max(before, ends[who] + len(pause))
        placed.append((start, turn, who))
        ends[who] = start + len(turn)
        start = max(ends) + round(rng.uniform(*GAP_S) * SAMPLE_RATE)
    tracks = np.zeros((2, start))
    for at, turn, who in placed:
        tracks[who, at : at + len(turn)] = turn
    samples = tracks.sum(0).astype(np.float32)
    samples += rng.normal(0, line.noise, len(samples)).astype(np.float32)
    samples = band_limit(samples, SAMPLE_RATE, line.low_hz, line.high_hz)
    return Conversation(
        through_codec(samples, SAMPLE_RATE, "ULAW"),
        [
            (at / SAMPLE_RATE, (at + len(turn)) / SAMPLE_RATE, who)
            for at, turn, who in placed
        ],
        np.stack([_active(own, gain[who]) for who, own in enumerate(tracks)]),
    )


def _active(track: np.ndarray, gain: float) -> Bool[np.ndarray, " steps"]:
    steps = track[: len(track) // STEP * STEP].reshape(-1, STEP)
    loud = np.sqrt(np.square(steps).mean(1)) > AUDIBLE * LEVEL * gain
    return inside(close_gaps(spans(loud), CLOSED_STEPS), len(steps))


def paired(
    clips: Clips,
    lengths: Sequence[int],
    seed: int,
    with_themselves: bool = False,
    overlaps: float = 0.0,
) -> Iterator[Conversation]:
    """Yield conversations of all pairs of speakers within a corpus.

    Args:
        clips: the clips of the speakers.
        lengths: numbers of turns; one conversation each per pair.
        seed: of all random draws.
        with_themselves: pair each speaker with themselves instead.
        overlaps: the share of turns that begin before the one before them ends.
    """
    rng = np.random.default_rng(seed)
    own: dict[str, list[np.ndarray]] = {}
    for waveform, speaker in zip(clips.waveforms, clips.speakers, strict=True):
        own.setdefault(speaker, []).append(waveform.astype(np.float32))
    names = sorted(own)
    pairs = combinations_with_replacement(names, 2)
    for a, b in pairs if with_themselves else combinations(names, 2):
        if (a == b) != with_themselves or a.split("/")[0] != b.split("/")[0]:
            continue
        for n_turns in lengths:
            yield converse(own[a], own[b], n_turns, rng, overlaps)


def speech_of(conversation: Conversation, vad: SileroVad) -> Regions:
    """Return the speech regions of a conversation."""
    stream = vad.stream()
    wide = soxr.resample(conversation.samples, SAMPLE_RATE, VAD_RATE)
    found = [stream.push(wide.astype(np.float32)), stream.finish()]
    return speech_regions(np.concatenate(found), VadConfig())


def right_share(
    turns: Sequence[tuple[float, float, int]],
    voices: Sequence[Regions],
    frame_s: float,
) -> float:
    """Return the share of detected speech within turns that has the right voice."""
    n = 1 + max(int(turns[-1][1] / frame_s), *(int(own[-1, 1]) for own in voices))
    truth, found = np.full(n, -1), np.full(n, -1)
    for start_s, end_s, who in turns:
        truth[round(start_s / frame_s) : round(end_s / frame_s)] = who
    for number, own in enumerate(voices):
        for start, end in own:
            found[start:end] = number
    both = (truth >= 0) & (found >= 0)
    same = float((truth[both] == found[both]).mean())
    return max(same, 1 - same)

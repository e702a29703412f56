"""The audio of a call that is going on: what is to be scored, as soon as it is settled.

There is no model here, so that many calls can share one.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

import numpy as np
from jaxtyping import Float32
from threadpoolctl import ThreadpoolController

from ser_batch.audio.decoders import repaired
from ser_batch.config.options import Config
from ser_batch.intervals import Interval, sample_index
from ser_batch.live.growing_speech import GrowingSpeech, Settled, Span
from ser_batch.speech.listening import Listened, Listening
from ser_batch.speech.regions import level_curve
from ser_batch.speech.vad import FRAME_S, Vad

BLOCK_S = 0.5
"""Packets are put together to blocks of this length."""
UNFINISHED_EVERY_S = 2.5
"""Speech that goes on is scored provisionally this often."""

Samples = Float32[np.ndarray, " samples"]

_pools = cache(ThreadpoolController)


def on_one_core() -> AbstractContextManager[object]:
    """Return a context in which matrix products use one thread.

    Those of a block are so small that more threads cost ten times as much.
    """
    return _pools().limit(limits=1, user_api="blas")


class Kind(StrEnum):
    """What is known of a piece of speech."""

    REGION = "region"
    """A speech region, settled; not scored by itself."""
    SEGMENT = "segment"
    """A segment, settled."""
    SHORT = "short"
    """Speech that is a segment only if its channel turns out to have no other."""
    UNFINISHED = "unfinished"
    """Speech that goes on, or is not settled yet."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of speech in one channel, with its waveform if it is to be scored."""

    kind: Kind
    channel: int
    span: Span
    waveform: Samples | None = None

    def interval(self, duration_s: float) -> Interval:
        """Return it in seconds, within a call of this length, in which it begins."""
        start, end = self.span
        return Interval(start * FRAME_S, min(end * FRAME_S, duration_s))


@dataclass
class _Track:
    """One channel: its growing speech, and the samples that may still be needed."""

    speech: GrowingSpeech
    is_kept: bool
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    first_sample: int = 0
    waiting: list[tuple[Kind, Span]] = field(default_factory=list)
    """Settled, but its last samples are still in the resampler."""
    levels: "array[float]" = field(default_factory=lambda: array("f"))
    """Of all frames, in dB."""
    levels_decided: int = 0
    tail: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    """The probabilities, at first sight, of frames that are yet to be decided."""
    told_until: int = 0
    """Where the last unfinished piece ended."""

    def levels_from(self, start: int, n: int | None = None) -> Samples:
        end = None if n is None else start + n
        return np.array(self.levels[start:end], np.float32)


class CallAudio:
    """The channels of a call, packet by packet.

    Attributes:
        notes: how its audio was repaired.

    Memory: what a channel has and another still lacks; the samples since the oldest
    speech that is not settled (with crosstalk removal and continuous speech at most
    about 25 s per channel); and 125 bytes a second for the levels of each channel.
    """

    def __init__(
        self,
        vad: Vad,
        config: Config,
        sample_rate: int,
        model_rate: int,
        kept: Sequence[bool],
    ) -> None:
        """`kept` says for each channel whether any of its speech is to be scored."""
        self._config, self._rate, self._model_rate = config, sample_rate, model_rate
        n_inner = 1 if config.audio.mix else len(kept)
        self.notes: list[str] = []
        self._listening = Listening(vad, config.vad, sample_rate, model_rate, n_inner)
        self._n = len(kept)
        self._packets: list[deque[Samples]] = [deque() for _ in kept]
        self._waiting = [0] * len(kept)
        """The samples in packets, by channel."""
        self._tracks = [
            _Track(GrowingSpeech(config.vad, config.segments), is_kept)
            for is_kept in kept[:n_inner]
        ]

    @property
    def duration_s(self) -> float:
        """How much of all channels was heard, in seconds."""
        return self._listening.duration_s

    @property
    def is_same(self) -> bool:
        """Whether all channels have carried the same signal so far."""
        return self._listening.is_same

    @property
    def differs_clearly(self) -> bool:
        """Whether the channels differ so much that they cannot become the same."""
        return self._listening.differs_clearly

    @property
    def level_curves(self) -> list[bytes]:
        """The level of each channel over the call; see `regions.level_curve`."""
        return [level_curve(track.levels_from(0)) for track in self._tracks]

    def feed(self, channel: int, samples: Samples) -> list[Piece]:
        """Add samples of a channel; return what they settle.

        Channels may come one after the other: what all of them have is listened to, and
        the rest is kept.

        Raises:
            ValueError: the samples are not one channel of floats.
        """
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"samples of shape {samples.shape} and type {samples.dtype}: one "
                "channel of floats is expected, with full scale at 1.0"
            )
        # A copy: the caller may use the array again.
        own = repaired(np.array(samples, np.float32), self.notes)
        self._packets[channel].append(own)
        self._waiting[channel] += len(own)
        block = max(1, round(BLOCK_S * self._rate))
        pieces: list[Piece] = []
        if min(self._waiting) < block:
            return pieces
        with on_one_core():
            while min(self._waiting) >= block:
                pieces += self._listen(block)
        return pieces

    def finish(self) -> list[Piece]:
        """Return the rest, after the last packet; shorter channels end in silence."""
        longest = max(self._waiting)
        for own, n in zip(self._packets, self._waiting, strict=True):
            own.append(np.zeros(longest - n, np.float32))
        self._waiting = [longest] * len(self._packets)
        with on_one_core():
            return self._last(longest)

    def _last(self, longest: int) -> list[Piece]:
        pieces = self._listen(longest) if longest else []
        if self._listening.length:
            pieces += self._added(self._listening.finish(), at_end=True)
            for number, track in enumerate(self._tracks):
                pieces += self._settled(number, track, track.speech.finish())
                pieces += self._ready(number, track, at_end=True)
        return pieces

    def _listen(self, n: int) -> list[Piece]:
        together = np.stack([self._taken(channel, n) for channel in range(self._n)])
        if self._config.audio.mix:
            together = together.mean(axis=0, keepdims=True)
        return self._added(self._listening.push(together))

    def _taken(self, channel: int, n: int) -> Samples:
        """Return the next samples of a channel, which must be there."""
        self._waiting[channel] -= n
        packets, taken = self._packets[channel], []
        while n:
            packet = packets.popleft()
            taken.append(packet[:n])
            if len(packet) > n:
                packets.appendleft(packet[n:])
            n -= len(taken[-1])
        return np.concatenate(taken)

    def _added(self, listened: Listened, at_end: bool = False) -> list[Piece]:
        pieces: list[Piece] = []
        for number, track in enumerate(self._tracks):
            track.levels.frombytes(listened.levels_db[number].tobytes())
            decided = listened.decided[number]
            track.tail = np.concatenate([track.tail, listened.first_sight[number]])
            track.tail = track.tail[len(decided) :]
            if track.is_kept:
                added = listened.narrow[number]
                track.samples = np.concatenate([track.samples, added])
            levels = track.levels_from(track.levels_decided, len(decided))
            track.levels_decided += len(decided)
            settled = track.speech.push(decided, levels)
            pieces += self._settled(number, track, settled)
            pieces += self._ready(number, track)
            if not at_end:
                pieces += self._unfinished(number, track)
            self._forget(track)
        return pieces

    def _settled(self, number: int, track: _Track, settled: Settled) -> list[Piece]:
        if track.is_kept:
            track.waiting += [(Kind.SEGMENT, span) for span in settled.segments]
            track.waiting += [(Kind.SHORT, span) for span in settled.short]
        # The last frame is filled with silence beyond the end.
        return [
            Piece(Kind.REGION, number, span)
            for span in settled.regions
            if span[0] * FRAME_S < self.duration_s
        ]

    def _ready(self, number: int, track: _Track, at_end: bool = False) -> list[Piece]:
        """Return the settled pieces whose samples are there."""
        pieces = []
        while track.waiting:
            kind, span = track.waiting[0]
            waveform = self._waveform(track, span, at_end)
            if waveform is None:
                break
            pieces.append(Piece(kind, number, span, waveform))
            track.waiting.pop(0)
        return pieces

    def _unfinished(self, number: int, track: _Track) -> list[Piece]:
        if not track.is_kept:
            return []
        span = track.speech.unfinished(
            track.tail, track.levels_from(track.levels_decided)
        )
        every = round(UNFINISHED_EVERY_S / FRAME_S)
        if span is None or span[1] - max(track.told_until, span[0]) < every:
            return []
        waveform = self._waveform(track, span)
        if waveform is None:
            return []
        track.told_until = span[1]
        return [Piece(Kind.UNFINISHED, number, span, waveform)]

    def _waveform(
        self, track: _Track, span: Span, at_end: bool = False
    ) -> Samples | None:
        """Return samples, with silence beyond the end; None if some are to come."""
        interval = Interval(span[0] * FRAME_S, span[1] * FRAME_S)
        if at_end:
            end_s = min(interval.end_s, self.duration_s)
            interval = Interval(interval.start_s, end_s)
        start = sample_index(interval.start_s, self._model_rate)
        n = sample_index(interval.end_s, self._model_rate) - start
        at = start - track.first_sample
        found = track.samples[at : at + n]
        if len(found) < n and not at_end:
            return None
        return np.pad(found, (0, n - len(found)))

    def _forget(self, track: _Track) -> None:
        if not track.is_kept:
            return
        waiting = [start for _, (start, _) in track.waiting]
        first = min([track.speech.needed_from, *waiting])
        start = min(
            sample_index(first * FRAME_S, self._model_rate),
            track.first_sample + len(track.samples),
        )
        track.samples = track.samples[start - track.first_sample :]
        track.first_sample = start

"""The calls of a server, and the one worker that listens to all of them.

Adapters begin calls, push their audio and end them, in the server's own loop. The
worker, a thread, takes what has come for all calls at least ten times a second, and
scores what is due in one batch. Its events go back to the loop, to whoever listens.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.scorer import Scorer
from ser_batch.errors import SerError
from ser_batch.live.call_audio import Samples
from ser_batch.live.call_stream import CallState, Due, score
from ser_batch.live.events import CallEnded, Event, Gap, SegmentScored, as_json
from ser_batch.live.server.metrics import Metrics
from ser_batch.sources.source import Recording, Stamp
from ser_batch.speech.decoded import unexpected
from ser_batch.speech.vad import Vad

TICK_S = 0.1
"""Audio waits at most this long for that of other calls."""
MOST_WAITING_S = 10.0
"""Audio of a channel that waits to be heard; of more, the oldest is left out."""
LEFT_OUT_S = 1.0
MOST_EVENTS = 1000
"""Events that a listener has not read yet; one with more is cut off."""
BATCH = 32
LOCATION = "live:"

log = logging.getLogger("ser.live")


class NoRoomError(SerError):
    """The server has as many calls as it bears, or is about to end."""


class Listener:
    """Somebody who is told the events of a call, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(MOST_EVENTS)
        self.is_cut_off = False

    def tell(self, event: dict[str, Any] | None) -> None:
        """Add an event; None is the end."""
        if self.is_cut_off:
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.is_cut_off = True
            # Make room for the end.
            self.queue.get_nowait()
            self.queue.put_nowait(None)


@dataclass(eq=False)
class Call:
    """One call: its state, which is the worker's, and what the loop knows of it."""

    call_id: str
    protocol: str
    state: CallState
    sample_rate: int
    channels: int
    begun_at: float
    packets: deque[tuple[float, int, Samples]] = field(default_factory=deque)
    """With the time of arrival, and the channel."""
    waiting_s: float = 0.0
    """How much audio waits, over all channels."""
    owed: list[int] = field(default_factory=list)
    """Samples of each channel that are to be left out when they come."""
    heard: int = 0
    """Samples that were listened to, of the first channel."""
    notes: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    """All final events so far, for listeners that come late."""
    listeners: set[Listener] = field(default_factory=set)
    is_ending: bool = False
    is_over: bool = False
    """Whether the worker is done with it."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while packets are added, taken or left out."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    digests: list[Any] = field(default_factory=list)
    """Hashes of what was heard, by channel."""
    n_bytes: int = 0

    @property
    def content_hash(self) -> str:
        """What the call has in common with itself alone."""
        joined = b"".join(own.digest() for own in self.digests)
        return blake2b(joined, digest_size=16).hexdigest()

    def add(self, channel: int, samples: Samples) -> None:
        """Add a packet."""
        n = min(self.owed[channel], len(samples))
        self.owed[channel] -= n
        if n < len(samples):
            self.packets.append((time.monotonic(), channel, samples[n:]))
            self.waiting_s += (len(samples) - n) / self.sample_rate

    def leave_out(self, seconds: float) -> None:
        """Drop the oldest audio of all channels, which stay together."""
        for channel in range(self.channels):
            self.owed[channel] += round(seconds * self.sample_rate)
        packets = list(self.packets)
        self.packets.clear()
        self.waiting_s = 0.0
        for at, channel, samples in packets:
            n = min(self.owed[channel], len(samples))
            self.owed[channel] -= n
            if n < len(samples):
                self.packets.append((at, channel, samples[n:]))
                self.waiting_s += (len(samples) - n) / self.sample_rate

    def listen(self) -> Listener:
        """Return a new listener, who is told everything that is final so far."""
        listener = Listener()
        for event in self.history[-MOST_EVENTS + 1 :]:
            listener.tell(event)
        if self.ended.is_set():
            listener.tell(None)
        else:
            self.listeners.add(listener)
        return listener

    def recording(self) -> tuple[Recording, Stamp]:
        """Return what the rows call it: `live:PROTOCOL/CALL-ID`."""
        stamp = Stamp(self.n_bytes, int(time.time() * 1_000_000))
        return Recording(f"{LOCATION}{self.protocol}", self.call_id), stamp


class Hub:
    """All calls that are going on.

    Its methods are for the loop in which it was started; only the worker runs outside.
    """

    def __init__(
        self,
        scorer: Scorer,
        vad: Vad,
        config: Config,
        most_calls: int,
        on_ended: Callable[[Analysis], None] = lambda analysis: None,
    ) -> None:
        """`on_ended` is called by the worker with each call that has ended."""
        self._scorer, self._vad, self._config = scorer, vad, config
        self.most_calls, self._on_ended = most_calls, on_ended
        self.calls: dict[str, Call] = {}
        self.metrics = Metrics()
        self.is_draining = False
        self._work = threading.Event()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = threading.Thread(target=self._run, name="ser-live")

    def start(self) -> None:
        """Start the worker, in a running loop."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()

    async def drain(self, wait_s: float) -> None:
        """Take no more calls, wait for those that go on, and end the rest."""
        self.is_draining = True
        until = time.monotonic() + wait_s
        while self.calls and time.monotonic() < until:
            await asyncio.sleep(TICK_S)
        for call in list(self.calls.values()):
            self.end(call, "cut off: the server was stopped")
        while self.calls:
            await asyncio.sleep(TICK_S / 10)
        self._stopped = True
        self._work.set()
        await asyncio.to_thread(self._worker.join)

    def begin(
        self, call_id: str, protocol: str, sample_rate: int, channels: int
    ) -> Call:
        """Begin a call.

        Raises:
            NoRoomError: there is no room for another one.
            UsageError: the call cannot be followed; see `CallStream`.
            ValueError: a call with this id is going on.
        """
        if self.is_draining or len(self.calls) >= self.most_calls:
            self.metrics.refused.inc()
            raise NoRoomError("no room for another call; try again later")
        if call_id in self.calls:
            raise ValueError(f"call {call_id} is going on already")
        state = CallState(self._vad, self._scorer, self._config, sample_rate, channels)
        call = Call(
            call_id, protocol, state, sample_rate, channels, time.time(),
            owed=[0] * channels,
            digests=[blake2b(digest_size=16) for _ in range(channels)],
        )  # fmt: skip
        self.calls[call_id] = call
        self.metrics.calls.set(len(self.calls))
        self.metrics.accepted.labels(protocol).inc()
        return call

    def push(self, call: Call, channel: int, samples: Samples) -> None:
        """Add audio to a channel; if too much waits, the oldest is left out."""
        if call.is_ending or not len(samples):
            return
        left_out_s = 0.0
        with call.lock:
            call.add(channel, samples)
            while call.waiting_s > MOST_WAITING_S * call.channels:
                call.leave_out(LEFT_OUT_S)
                left_out_s += LEFT_OUT_S
        if left_out_s:
            self.metrics.dropped.inc(left_out_s * call.channels)
            start_s = call.heard / call.sample_rate
            reason = f"{left_out_s:g} s came faster than they could be heard"
            gaps = [Gap(own, start_s, start_s, reason) for own in range(call.channels)]
            self._publish(call, list(gaps))
        self._work.set()

    def end(self, call: Call, note: str = "") -> None:
        """End a call; the worker hears what still waits, and tells the rest."""
        if note:
            call.notes.append(note)
        call.is_ending = True
        self._work.set()

    def _publish(self, call: Call, events: list[Event]) -> None:
        for event in events:
            told = {"call": call.call_id, **as_json(event)}
            if not (isinstance(event, SegmentScored) and not event.is_final):
                call.history.append(told)
            for listener in list(call.listeners):
                listener.tell(told)
                if listener.is_cut_off:
                    call.listeners.discard(listener)
                    self.metrics.cut_off.inc()
            if isinstance(event, CallEnded):
                self._close(call)

    def _close(self, call: Call) -> None:
        for listener in call.listeners:
            listener.tell(None)
        call.listeners.clear()
        self.calls.pop(call.call_id, None)
        self.metrics.calls.set(len(self.calls))
        call.ended.set()

    # What follows runs in the worker.

    def _run(self) -> None:
        import torch

        # The worker is one core's; the others are for sockets and files.
        torch.set_num_threads(1)
        while not self._stopped:
            self._work.wait()
            self._work.clear()
            begun = time.monotonic()
            try:
                self._tick()
            except Exception:
                log.exception("a tick of the worker failed")
            # So that packets of other calls come together in a batch.
            time.sleep(max(0.0, TICK_S - (time.monotonic() - begun)))

    def _tick(self) -> None:
        events: dict[Call, list[Event]] = {}
        due: list[tuple[Call, Due]] = []
        ending = []
        oldest: float | None = None
        waiting_s = 0.0
        for call in [own for own in list(self.calls.values()) if not own.is_over]:
            is_ending = call.is_ending
            waiting_s += call.waiting_s
            try:
                arrived = self._hear(call, events, due)
                if is_ending and not call.packets:
                    told, last = call.state.last()
                    events.setdefault(call, []).extend(told)
                    due += [(call, own) for own in last]
                    ending.append(call)
            except Exception as error:
                self._fail(call, error)
                continue
            if arrived is not None:
                oldest = arrived if oldest is None else min(oldest, arrived)
        self.metrics.waiting.set(waiting_s)
        for at in range(0, len(due), BATCH):
            self._score(due[at : at + BATCH], events)
        for call in ending:
            if call.is_over:
                continue
            for note in call.notes:
                call.state.note(note)
            events.setdefault(call, []).extend(call.state.end())
            self._finish(call)
        for call, told in events.items():
            if told:
                self._tell(call, told)
        if oldest is not None:
            self.metrics.lag.observe(time.monotonic() - oldest)

    def _hear(
        self, call: Call, events: dict[Call, list[Event]], due: list[tuple[Call, Due]]
    ) -> float | None:
        """Listen to what has come; return when the oldest of it came."""
        with call.lock:
            taken, call.waiting_s = list(call.packets), 0.0
            call.packets.clear()
        if not taken:
            return None
        for channel in range(call.channels):
            packets = [samples for _, own, samples in taken if own == channel]
            if not packets:
                continue
            # A call costs as much for each packet as for each second.
            samples = np.concatenate(packets)
            call.digests[channel].update(samples.tobytes())
            call.n_bytes += samples.nbytes
            call.heard += len(samples) if channel == 0 else 0
            told, own_due = call.state.feed(channel, samples)
            events.setdefault(call, []).extend(told)
            due += [(call, piece) for piece in own_due]
            self.metrics.audio.inc(len(samples) / call.sample_rate)
        return taken[0][0]

    def _score(
        self, due: list[tuple[Call, Due]], events: dict[Call, list[Event]]
    ) -> None:
        """Score a batch; if that fails, one by one, so that one call alone fails."""
        try:
            found = score(self._scorer, [own for _, own in due])
        except Exception as error:
            if len(due) == 1:
                self._fail(due[0][0], error)
                return
            for one in due:
                self._score([one], events)
            return
        for (call, own), scores in zip(due, found, strict=True):
            if call.is_over:
                continue
            try:
                events.setdefault(call, []).extend(call.state.add(own, scores))
            except Exception as error:
                self._fail(call, error)
                continue
            self.metrics.segments.labels(own.piece.kind.value).inc()

    def _finish(self, call: Call) -> None:
        recording, stamp = call.recording()
        analysis = call.state.analysis(
            recording, stamp, call.content_hash, f"live {call.protocol}"
        )
        self.metrics.ended.labels("cut off" if call.notes else "in order").inc()
        call.is_over = True
        self._on_ended(analysis)

    def _fail(self, call: Call, error: Exception) -> None:
        log.error("call %s failed: %r", call.call_id, error)
        self.metrics.ended.labels("failed").inc()
        call.is_ending = call.is_over = True
        recording, _ = call.recording()
        failed = unexpected(recording, "following the call", error)
        self._on_ended(Analysis(failed, []))
        ended = CallEnded(call.state.audio.duration_s, 0, (failed.error,))
        self._tell(call, [ended])

    def _tell(self, call: Call, events: list[Event]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._publish, call, events)

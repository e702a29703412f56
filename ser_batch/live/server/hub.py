"""The calls of a server, and the one worker that listens to all of them.

Adapters begin calls, push their audio and end them, in the server's own loop. The
worker, a thread, takes what has come for all calls at least ten times a second, and
scores what is due in one batch. Its events go back to the loop, to whoever listens.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.scorer import Scorer
from ser_batch.errors import SerError, UsageError
from ser_batch.live.call_audio import Samples
from ser_batch.live.call_stream import CallState, Due, score
from ser_batch.live.events import (
    CallBegun,
    CallEnded,
    Event,
    Gap,
    SegmentScored,
    as_json,
)
from ser_batch.live.server.call import Call
from ser_batch.live.server.ledger import Ledger
from ser_batch.live.server.metrics import Metrics
from ser_batch.speech.decoded import unexpected
from ser_batch.speech.vad import Vad

TICK_S = 0.1
"""Audio of a call waits at most this long for that of others."""
MOST_WAITING_S = 10.0
"""Audio of a channel that waits to be heard; of more, the oldest is left out."""
LEFT_OUT_S = 1.0
LEFT_OUT_NOTE = "{:g} s came faster than they could be heard, and were left out"
HEARD_S = 2.0
"""Of each channel of a call at a time: one that is far behind holds up no other."""
BATCH = 32

log = logging.getLogger("ser.live")


class NoRoomError(SerError):
    """The server has as many calls as it bears, or is about to end."""


class CallOverError(SerError):
    """The client is still sending, but its call has ended here."""


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
        ledger: Ledger | None = None,
    ) -> None:
        """`ledger` writes the calls that have ended, if it is given."""
        self._scorer, self._vad, self._config = scorer, vad, config
        self.most_calls, self.ledger = most_calls, ledger
        self._on_event: Callable[[dict[str, Any]], None] | None = None
        self.calls: list[Call] = []
        """The latest last."""
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

    def call(self, call_id: str) -> Call | None:
        """Return the latest call with an id, if it goes on."""
        return next((c for c in reversed(self.calls) if c.call_id == call_id), None)

    def send_events_to(self, told: Callable[[dict[str, Any]], None]) -> None:
        """Call a function with the events of all calls, except provisional scores."""
        self._on_event = told

    async def drain(self, wait_s: float) -> None:
        """Take no more calls, wait for those that go on, and end the rest."""
        self.is_draining = True
        until = time.monotonic() + wait_s
        while self.calls and time.monotonic() < until:
            await asyncio.sleep(TICK_S)
        for call in [own for own in self.calls if not own.is_ending]:
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
        load = sum(_load(own.channels) for own in self.calls)
        if self.is_draining or load + _load(channels) > self.most_calls:
            self.metrics.refused.inc()
            raise NoRoomError("no room for another call; try again later")
        if any(own.call_id == call_id and not own.is_ending for own in self.calls):
            raise ValueError(f"call {call_id} is going on already")
        try:
            state = CallState(
                self._vad, self._scorer, self._config, sample_rate, channels
            )
        except UsageError as error:
            self.metrics.refused.inc()
            log.warning("the %s call %s was refused: %s", protocol, call_id, error)
            raise
        entry = self.ledger.begin(call_id, protocol) if self.ledger else None
        call = Call(call_id, protocol, state, sample_rate, channels, entry)
        self.calls.append(call)
        self.metrics.calls.set(len(self.calls))
        self.metrics.accepted.labels(protocol).inc()
        self._publish(call, [CallBegun(protocol, sample_rate, channels)])
        return call

    def push(self, call: Call, channel: int, samples: Samples) -> None:
        """Add audio to a channel; if too much waits, the oldest is left out.

        Raises:
            CallOverError: the call has failed, or the server has ended it.
        """
        if call.is_over:
            raise CallOverError("the call has ended; see the server's log")
        if call.is_ending or not len(samples):
            return
        left_out_s = 0.0
        with call.lock:
            call.add(channel, samples)
            while call.waiting_s > MOST_WAITING_S * call.channels:
                call.leave_out(LEFT_OUT_S)
                left_out_s += LEFT_OUT_S
        if left_out_s:
            call.left_out_s += left_out_s
            self.metrics.dropped.inc(left_out_s * call.channels)
            start_s = call.heard_s
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
            call.note_event(event)
            told = {"call": call.call_id, **as_json(event)}
            if not (isinstance(event, SegmentScored) and not event.is_final):
                call.history.append(told)
                if self._on_event is not None:
                    self._on_event(told)
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
        if call in self.calls:
            self.calls.remove(call)
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
        for call in [own for own in list(self.calls) if not own.is_over]:
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
                self._fail(call, error, events)
                continue
            if call.packets:
                self._work.set()
            if arrived is not None:
                oldest = arrived if oldest is None else min(oldest, arrived)
        self.metrics.waiting.set(waiting_s)
        for at in range(0, len(due), BATCH):
            self._score(due[at : at + BATCH], events)
        for call in ending:
            if call.is_over:
                continue
            try:
                events.setdefault(call, []).extend(self._end(call))
            except Exception as error:
                self._fail(call, error, events)
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
            taken = call.taken(HEARD_S * call.channels)
        if not taken:
            return None
        for channel in range(call.channels):
            packets = [samples for _, own, samples in taken if own == channel]
            if not packets:
                continue
            # `feed` has a fixed cost, so packets are joined first.
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
                self._fail(due[0][0], error, events)
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
                self._fail(call, error, events)
                continue
            self.metrics.segments.labels(own.piece.kind.value).inc()

    def _end(self, call: Call) -> list[Event]:
        """Return the last events of a call, and have it written."""
        for note in call.notes:
            call.state.note(note)
        if call.left_out_s:
            call.state.note(LEFT_OUT_NOTE.format(call.left_out_s))
        events = call.state.end()
        analysis = call.state.analysis(
            call.recording, call.stamp, call.content_hash, f"live {call.protocol}"
        )
        call.is_over = True
        self.metrics.ended.labels("cut off" if call.notes else "in order").inc()
        self._write(call, analysis)
        return events

    def _fail(
        self, call: Call, error: Exception, events: dict[Call, list[Event]]
    ) -> None:
        """End a call that cannot go on; `events` are those that it has not told yet."""
        if call.is_over:
            return
        log.error("call %s failed: %r", call.call_id, error)
        self.metrics.ended.labels("failed").inc()
        call.is_ending = call.is_over = True
        failed = unexpected(call.recording, "following the call", error)
        self._write(call, Analysis(failed, []))
        ended = CallEnded(call.state.audio.duration_s, 0, (failed.error,))
        events.setdefault(call, []).append(ended)

    def _write(self, call: Call, analysis: Analysis) -> None:
        if self.ledger is not None and call.entry is not None:
            self.ledger.end(call.entry, analysis)

    def _tell(self, call: Call, events: list[Event]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._publish, call, events)


def _load(channels: int) -> float:
    """Return how many calls in stereo a call is worth, at least one."""
    return max(1.0, channels / 2)

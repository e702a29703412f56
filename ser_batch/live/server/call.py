"""One call of a server, and those who listen to it."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ser_batch.live.call_audio import Samples
from ser_batch.live.call_stream import CallState
from ser_batch.live.events import Event, SegmentScored
from ser_batch.live.last_minute import LastMinute
from ser_batch.live.server.ledger import Entry, live_recording
from ser_batch.sources.source import Recording, Stamp

MOST_EVENTS = 1000
"""Events that a listener has not read yet; one with more is cut off."""
TOLD_BEFORE = 500
"""The latest events that one who comes late is told."""


class Listener:
    """Somebody who is told the events of a call, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(MOST_EVENTS)
        self.is_cut_off = False

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield events until the end, or until this one is cut off."""
        while (event := await self.queue.get()) is not None:
            yield event

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
    entry: Entry | None = None
    """Of the ledger, if it is to be written."""
    begun_at: float = field(default_factory=time.time)
    packets: deque[tuple[float, int, Samples]] = field(default_factory=deque)
    """With the time of arrival, and the channel."""
    waiting_s: float = 0.0
    """How much audio waits, over all channels."""
    last_minute: LastMinute = field(init=False)
    latest: SegmentScored | None = None
    """The last segment that is final."""
    owed: list[int] = field(init=False)
    """Samples of each channel that are to be left out when they come."""
    heard: int = 0
    """Samples that were listened to, of the first channel."""
    notes: list[str] = field(default_factory=list)
    history: deque[dict[str, Any]] = field(
        default_factory=lambda: deque(maxlen=TOLD_BEFORE)
    )
    """The latest events, without provisional scores, for listeners that come late."""
    listeners: set[Listener] = field(default_factory=set)
    is_ending: bool = False
    is_over: bool = False
    """Whether the worker is done with it."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while packets are added, taken or left out."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    digests: list[Any] = field(init=False)
    """Hashes of what was heard, by channel."""
    n_bytes: int = 0
    left_out_s: float = 0.0
    """Audio that came faster than it could be heard, on each channel."""

    def __post_init__(self) -> None:
        self.last_minute = LastMinute(len(self.state.roles))
        self.owed = [0] * self.channels
        self.digests = [blake2b(digest_size=16) for _ in range(self.channels)]

    @property
    def content_hash(self) -> str:
        """What the call has in common with itself alone."""
        named = f"{self.recording.location} {self.begun_at}".encode()
        joined = b"".join([named, *(own.digest() for own in self.digests)])
        return blake2b(joined, digest_size=16).hexdigest()

    @property
    def heard_s(self) -> float:
        """How much of it was listened to."""
        return self.heard / self.sample_rate

    def note_event(self, event: Event) -> None:
        """Take an event into account for `summary`."""
        self.last_minute.add(event)
        if isinstance(event, SegmentScored) and event.is_final:
            self.latest = event

    def summary(self) -> dict[str, Any]:
        """Return how it stands, as plain values.

        `distress` is the mean over the scored speech of the last minute. See
        `LastMinute` for `last_minute` and `unfinished`.
        """
        distress, latest = self.last_minute.distress(self.heard_s), self.latest
        return {
            "call": self.call_id,
            "protocol": self.protocol,
            "begun_at": self.begun_at,
            "heard_s": self.heard_s,
            "channels": self.channels,
            "roles": self.state.roles,
            "distress": distress and round(distress, 3),
            "label": latest and latest.label,
            "confidence": latest and latest.confidence and round(latest.confidence, 3),
            "last_minute": [
                [
                    own if isinstance(own, bool) else round(own, 3)
                    for own in self.last_minute.seconds(channel, self.heard_s)
                ]
                for channel in range(len(self.state.roles))
            ],
            "unfinished": [
                self.last_minute.unfinished(channel, self.heard_s)
                for channel in range(len(self.state.roles))
            ],
        }

    def add(self, channel: int, samples: Samples) -> None:
        """Add a packet."""
        self._add(time.monotonic(), channel, samples)

    def _add(self, at: float, channel: int, samples: Samples) -> None:
        n = min(self.owed[channel], len(samples))
        self.owed[channel] -= n
        if n < len(samples):
            self.packets.append((at, channel, samples[n:]))
            self.waiting_s += (len(samples) - n) / self.sample_rate

    def leave_out(self, seconds: float) -> None:
        """Drop the oldest audio of all channels, which stay together."""
        for channel in range(self.channels):
            self.owed[channel] += round(seconds * self.sample_rate)
        for packet in self.taken():
            self._add(*packet)

    def taken(self, most_s: float = math.inf) -> list[tuple[float, int, Samples]]:
        """Remove and return the oldest packets, up to `most_s` of all channels."""
        taken, taken_s = [], 0.0
        while self.packets and taken_s < most_s:
            taken.append(self.packets.popleft())
            taken_s += len(taken[-1][2]) / self.sample_rate
        self.waiting_s = self.waiting_s - taken_s if self.packets else 0.0
        return taken

    @contextmanager
    def heard_by_one(self) -> Iterator[Listener]:
        """Provide a listener, who is told what is final so far, and then the rest."""
        listener = Listener()
        for event in self.history:
            listener.tell(event)
        if self.ended.is_set():
            listener.tell(None)
        self.listeners.add(listener)
        try:
            yield listener
        finally:
            self.listeners.discard(listener)

    @property
    def recording(self) -> Recording:
        """What the rows call it."""
        if self.entry is not None:
            return self.entry.recording
        return live_recording(self.call_id, self.protocol)

    @property
    def stamp(self) -> Stamp:
        """Its size, and now."""
        return Stamp(self.n_bytes, int(time.time() * 1_000_000))

"""Ended calls, as rows of a results directory of the server's own.

A call that is going on has an entry in `.live/`, which goes when its rows are
committed: after a crash, the next start knows which calls were cut.
"""

import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.profile import Profile
from ser_batch.emotion.scorer import Scorer
from ser_batch.engine.record import run_record
from ser_batch.results.analysed import rows_or_failure
from ser_batch.results.manifest import Identity
from ser_batch.results.writing import ResultsWriter, open_writer
from ser_batch.sources.source import Recording

COMMIT_S = 5.0
"""Ended calls wait at most this long before they are committed."""
AGAIN_S = 5.0
"""After an error, writing is tried again."""
MOST_UNWRITTEN = 1000
"""Ended calls that are kept while they cannot be written; the latest, if more."""
ENTRIES, LOCATION = ".live", "live:"
UNKNOWN = "?"

log = logging.getLogger("ser.live")


@dataclass(frozen=True, slots=True)
class CutCall:
    """A call whose rows were not written."""

    call: str
    protocol: str
    begun_at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that is going on."""

    recording: Recording
    """What its rows call it; no other call has this location."""
    path: Path


class Ledger:
    """Writes ended calls, in a thread of its own; opened by `open_ledger`.

    Attributes:
        cut: the calls whose rows were not written when the last server ended.
        error: what keeps it from writing, while something does.
    """

    def __init__(
        self,
        directory: Path,
        opened: Callable[[], AbstractContextManager[ResultsWriter]],
    ) -> None:
        self._entries, self._opened = directory / ENTRIES, opened
        self._ids: dict[str, str] = {}
        """The recording ids of all locations that have rows."""
        self._taken: set[str] = set()
        """The recording ids themselves."""
        self._times: dict[str, int] = {}
        """How often each call was begun here."""
        self.cut: list[CutCall] = []
        self.error: Exception | None = None
        self._ended: queue.Queue[tuple[Entry, Analysis] | None] = queue.Queue()
        """None only ends the wait."""
        self._unwritten: list[tuple[Entry, Analysis]] = []
        self._ready, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ser-ledger")

    def start(self) -> None:
        """Open the directory, and start to write.

        Raises:
            ResultsError: it cannot be written.
        """
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error

    def begin(self, call: str, protocol: str) -> Entry:
        """Note that a call has begun; one with a name that was there gets a number."""
        name = self._free_name(call, protocol)
        path = self._entries / f"{secrets.token_hex(16)}.json"
        told = {"call": name, "protocol": protocol, "begun_at": time.time()}
        # A full disk must not keep anybody from calling.
        with suppress(OSError):
            path.write_text(json.dumps(told))
        return Entry(live_recording(name, protocol), path)

    def _free_name(self, call: str, protocol: str) -> str:
        first = live_recording(call, protocol).location
        for number in count(self._times.get(first, 0) + 1):
            name = call if number == 1 else f"{call}#{number}"
            if live_recording(name, protocol).location not in self._ids:
                break
        self._times[first] = number
        return name

    def end(self, entry: Entry, analysis: Analysis) -> None:
        """Have an ended call written."""
        self._ended.put((entry, analysis))

    def close(self) -> None:
        """Write what is left.

        Raises:
            ResultsError: some calls could not be written.
        """
        self._closing.set()
        self._ended.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    # What follows runs in the thread.

    def _run(self) -> None:
        while True:
            try:
                with self._opened() as writer:
                    self._begin_writing(writer)
                    self._write(writer)
                return
            except Exception as error:
                # A writer that failed cannot go on; another may, when there is room.
                self.error = error
                if not self._ready.is_set() or self._closing.is_set():
                    self._ready.set()
                    return
                log.error("calls cannot be written: %s", error)
                self._closing.wait(AGAIN_S)
                self._gather(wait_s=0.0)

    def _begin_writing(self, writer: ResultsWriter) -> None:
        self._ids |= {own.location: i for i, own in writer.known.items()}
        self._taken.update(self._ids.values())
        if not self._ready.is_set():
            self._entries.mkdir(mode=0o700, exist_ok=True)
            self.cut = sorted(self._cut_calls(), key=lambda call: call.begun_at)
            self._ready.set()

    def _write(self, writer: ResultsWriter) -> None:
        """Write calls until `close`."""
        is_closing = False
        while not is_closing:
            is_closing = self._closing.is_set()
            self._gather(0.0 if self._unwritten or is_closing else None)
            for entry, analysis in self._unwritten:
                self._add(writer, entry, analysis)
            writer.commit()
            self.error = None
            for entry, _ in self._unwritten:
                with suppress(OSError):
                    entry.path.unlink(missing_ok=True)
            self._unwritten.clear()

    def _gather(self, wait_s: float | None) -> None:
        """Take what has ended, after at most `wait_s`; None to wait for the first."""
        until = time.monotonic() + (COMMIT_S if wait_s is None else wait_s)
        with suppress(queue.Empty):
            while (ended := self._ended.get(timeout=wait_s)) is not None:
                self._unwritten.append(ended)
                del self._unwritten[:-MOST_UNWRITTEN]
                wait_s = max(0.0, until - time.monotonic())

    def _add(self, writer: ResultsWriter, entry: Entry, analysis: Analysis) -> None:
        recording = entry.recording
        if assigned := self._ids.get(recording.location):
            recording = replace(recording, assigned_id=assigned)
        else:
            recording = recording.assigned(self._taken)
            self._ids[recording.location] = recording.recording_id
            self._taken.add(recording.recording_id)
        outcome = replace(analysis.outcome, recording=recording)
        named = replace(analysis, outcome=outcome)
        _, rows = rows_or_failure(named, writer.identity)
        writer.add(rows)

    def _cut_calls(self) -> Iterator[CutCall]:
        for path in self._entries.glob("*.json"):
            try:
                told = json.loads(path.read_text())
            except (OSError, ValueError):
                told = None
            cut = _cut_call(told, path)
            # Killed between a commit and its end, a call is kept, and has an entry.
            if live_recording(cut.call, cut.protocol).location not in self._ids:
                yield cut
            with suppress(OSError):
                path.unlink()


def live_recording(call: str, protocol: str) -> Recording:
    """Return what the rows call a live call: `live:PROTOCOL/CALL`."""
    return Recording(f"{LOCATION}{protocol}", call)


@contextmanager
def open_ledger(
    directory: Path, scorer: Scorer, config: Config, profile: Profile | None
) -> Iterator[Ledger]:
    """Open a results directory for the calls of a server.

    Raises:
        ResultsError: it cannot be written, or belongs to another model, configuration
            or profile, or to another server that is running.
    """

    @contextmanager
    def opened() -> Iterator[ResultsWriter]:
        with open_writer(directory, Identity.of(scorer, config)) as writer:
            if profile is not None:
                writer.keep_profile(profile)
            record = run_record([LOCATION], config, scorer, str(scorer.device))
            writer.write_record(record)
            yield writer

    ledger = Ledger(directory, opened)
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.close()


def _cut_call(told: Any, path: Path) -> CutCall:
    """Return what an entry tells; one that could not be written tells nothing."""
    try:
        return CutCall(str(told["call"]), str(told["protocol"]), told["begun_at"] + 0.0)
    except (TypeError, KeyError):
        begun_at = 0.0
        with suppress(OSError):
            begun_at = path.stat().st_mtime
        return CutCall(UNKNOWN, UNKNOWN, begun_at)

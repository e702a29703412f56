"""Ended calls, as rows of a results directory of the server's own.

A call that is going on has an entry in `.live/`, which goes when its rows are
committed: after a crash, the next start knows which calls were cut.
"""

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.profile import Profile
from ser_batch.errors import ResultsError
from ser_batch.results.analysed import rows_or_failure
from ser_batch.results.manifest import Identity
from ser_batch.results.writing import ResultsWriter, open_writer

COMMIT_S = 5.0
"""Ended calls wait at most this long before they are committed."""
ENTRIES = ".live"


@dataclass(frozen=True, slots=True)
class CutCall:
    """A call that was going on when the server was killed."""

    call: str
    protocol: str
    begun_at: float


class Ledger:
    """Writes ended calls, in a thread of its own; opened by `open_ledger`.

    Attributes:
        cut: the calls that were going on when the last server was killed.
        error: what keeps it from writing, if anything does.
    """

    def __init__(self, directory: Path, writer: ResultsWriter) -> None:
        self._entries, self._writer = directory / ENTRIES, writer
        self._entries.mkdir(mode=0o700, exist_ok=True)
        self.cut = sorted(self._cut_calls(), key=lambda call: call.begun_at)
        self.error: ResultsError | None = None
        self._queue: queue.Queue[Analysis | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="ser-ledger")

    def begin(self, call: str, protocol: str) -> None:
        """Note that a call has begun."""
        entry = {"call": call, "protocol": protocol, "begun_at": time.time()}
        # A full disk must not keep anybody from calling.
        with suppress(OSError):
            self._entry(call, protocol).write_text(json.dumps(entry))

    def end(self, analysis: Analysis) -> None:
        """Have an ended call written."""
        self._queue.put(analysis)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left.

        Raises:
            ResultsError: some calls could not be written.
        """
        self._queue.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        waiting: list[Path] = []
        since = time.monotonic()
        while True:
            try:
                analysis = self._queue.get(timeout=COMMIT_S / 5)
            except queue.Empty:
                analysis = None
                is_last = False
            else:
                is_last = analysis is None
            if analysis is not None:
                if not waiting:
                    since = time.monotonic()
                waiting.append(self._add(analysis))
            if waiting and (is_last or time.monotonic() - since >= COMMIT_S):
                self._commit(waiting)
                waiting = []
            if is_last:
                return

    def _add(self, analysis: Analysis) -> Path:
        recording = analysis.recording
        known = {own.location: i for i, own in self._writer.known.items()}
        assigned = known.get(recording.location)
        if assigned is None:
            named = recording.assigned(set(known.values()))
        else:
            named = replace(recording, assigned_id=assigned)
        outcome = replace(analysis.outcome, recording=named)
        analysis = replace(analysis, outcome=outcome)
        _, rows = rows_or_failure(analysis, self._writer.identity)
        with suppress(ResultsError):  # kept by `_commit`
            self._writer.add(rows)
        protocol = recording.root.partition(":")[2]
        return self._entry(recording.path, protocol)

    def _commit(self, entries: list[Path]) -> None:
        try:
            self._writer.commit()
        except ResultsError as error:
            self.error = error
            return
        for entry in entries:
            entry.unlink(missing_ok=True)

    def _entry(self, call: str, protocol: str) -> Path:
        name = sha256(f"{protocol}/{call}".encode()).hexdigest()[:32]
        return self._entries / f"{name}.json"

    def _cut_calls(self) -> Iterator[CutCall]:
        for entry in self._entries.glob("*.json"):
            with suppress(OSError, ValueError, TypeError):
                yield CutCall(**json.loads(entry.read_text()))
            entry.unlink(missing_ok=True)


@contextmanager
def open_ledger(
    directory: Path, identity: Identity, profile: Profile | None
) -> Iterator[Ledger]:
    """Open a results directory for the calls of a server.

    Raises:
        ResultsError: it cannot be written, or belongs to another model, configuration
            or profile, or to another server that is running.
    """
    with open_writer(directory, identity) as writer:
        if profile is not None:
            writer.keep_profile(profile)
        ledger = Ledger(directory, writer)
        ledger.start()
        try:
            yield ledger
        finally:
            ledger.close()

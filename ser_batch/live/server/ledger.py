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

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.profile import Profile
from ser_batch.emotion.scorer import Scorer
from ser_batch.engine.record import run_record
from ser_batch.errors import ResultsError
from ser_batch.results.analysed import rows_or_failure
from ser_batch.results.manifest import Identity
from ser_batch.results.writing import ResultsWriter, open_writer
from ser_batch.sources.source import Recording

COMMIT_S = 5.0
"""Ended calls wait at most this long before they are committed."""
ENTRIES, LOCATION = ".live", "live:"


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
        error: what keeps it from writing, if anything does. The calls that have ended
            since then are among those that the next start takes for cut.
    """

    def __init__(self, directory: Path, writer: ResultsWriter) -> None:
        self._entries, self._writer = directory / ENTRIES, writer
        self._ids = {own.location: i for i, own in writer.known.items()}
        self._taken = set(self._ids.values())
        self._entries.mkdir(mode=0o700, exist_ok=True)
        self.cut = sorted(self._cut_calls(), key=lambda call: call.begun_at)
        self.error: ResultsError | None = None
        self._queue: queue.Queue[Analysis | None] = queue.Queue()
        """None is the end."""
        self._thread = threading.Thread(target=self._run, name="ser-ledger")
        self._thread.start()

    def begin(self, call: str, protocol: str) -> None:
        """Note that a call has begun."""
        entry = {"call": call, "protocol": protocol, "begun_at": time.time()}
        # A full disk must not keep anybody from calling.
        with suppress(OSError):
            path = self._entry(live_recording(call, protocol))
            path.write_text(json.dumps(entry))

    def end(self, analysis: Analysis) -> None:
        """Have an ended call written."""
        self._queue.put(analysis)

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
        is_open = True
        while is_open:
            ended = [self._queue.get()]
            until = time.monotonic() + COMMIT_S
            with suppress(queue.Empty):
                while ended[-1] is not None:
                    left_s = max(0.0, until - time.monotonic())
                    ended.append(self._queue.get(timeout=left_s))
            is_open = ended[-1] is not None
            self._commit([own for own in ended if own is not None])

    def _commit(self, analyses: list[Analysis]) -> None:
        """Write calls, and remove their entries."""
        if self.error is not None:
            return
        try:
            for analysis in analyses:
                self._add(analysis)
            self._writer.commit()
        except ResultsError as error:
            self.error = error
            return
        for analysis in analyses:
            self._entry(analysis.recording).unlink(missing_ok=True)

    def _add(self, analysis: Analysis) -> None:
        recording = analysis.recording
        if assigned := self._ids.get(recording.location):
            recording = replace(recording, assigned_id=assigned)
        else:
            recording = recording.assigned(self._taken)
            self._ids[recording.location] = recording.recording_id
            self._taken.add(recording.recording_id)
        outcome = replace(analysis.outcome, recording=recording)
        named = replace(analysis, outcome=outcome)
        _, rows = rows_or_failure(named, self._writer.identity)
        self._writer.add(rows)

    def _entry(self, recording: Recording) -> Path:
        name = sha256(recording.location.encode()).hexdigest()[:32]
        return self._entries / f"{name}.json"

    def _cut_calls(self) -> Iterator[CutCall]:
        for entry in self._entries.glob("*.json"):
            with suppress(OSError, ValueError, TypeError):
                yield CutCall(**json.loads(entry.read_text()))
            entry.unlink(missing_ok=True)


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
    with open_writer(directory, Identity.of(scorer, config)) as writer:
        if profile is not None:
            writer.keep_profile(profile)
        writer.write_record(run_record([LOCATION], config, scorer, str(scorer.device)))
        ledger = Ledger(directory, writer)
        try:
            yield ledger
        finally:
            ledger.close()

"""Decoding in the process that asks for it."""

import threading
from collections.abc import Iterable, Iterator

from ser_batch.errors import UsageError
from ser_batch.speech.decoded import Decoded, Job, Outcome, Task, unexpected
from ser_batch.speech.decoding import decode
from ser_batch.speech.loading import load_vad
from ser_batch.speech.waveforms import WorkspaceError


class ThisProcess:
    """One recording after the other, here: for scripts, notebooks and single calls.

    A recording that crashes its decoder takes this process along; see `LocalProcesses`
    for many recordings.
    """

    def decode(
        self, tasks: Iterable[Task], job: Job, stop: threading.Event
    ) -> Iterator[Outcome]:
        """Decode recordings in order. See `Engine`."""
        vad = load_vad(job.config.vad)
        for task in tasks:
            if stop.is_set():
                return
            try:
                outcome = decode(task, job, vad)
            except WorkspaceError as error:
                raise UsageError(f"{error}; make room", path=error.path) from error
            except Exception as error:
                outcome = unexpected(task.recording, "decoding", error)
            if not isinstance(outcome, Decoded):
                job.waveforms.remove(outcome.recording.recording_id)
            yield outcome

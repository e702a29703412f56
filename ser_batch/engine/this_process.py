"""Decoding in the calling process."""

import threading
from collections.abc import Iterable, Iterator

from ser_batch.errors import UsageError
from ser_batch.speech.decoded import Decoded, Job, Outcome, Task, unexpected
from ser_batch.speech.decoding import decode
from ser_batch.speech.loading import load_diarizer, load_vad
from ser_batch.speech.waveforms import WorkspaceError


class ThisProcess:
    """Decodes one recording at a time: for scripts, notebooks and single recordings.

    A recording that crashes its decoder takes this process down with it; for many
    recordings, see `LocalProcesses`.
    """

    def decode(
        self, tasks: Iterable[Task], job: Job, stop: threading.Event
    ) -> Iterator[Outcome]:
        """Decode recordings in order; see `Engine`."""
        vad, diarizer = load_vad(job.config.vad), load_diarizer(job.config)
        for task in tasks:
            if stop.is_set():
                return
            try:
                outcome = decode(task, job, vad, diarizer)
            except WorkspaceError as error:
                raise UsageError(
                    f"{error}; free up disk space", path=error.path
                ) from error
            except Exception as error:
                outcome = unexpected(task.recording, "decoding", error)
            if not isinstance(outcome, Decoded):
                job.waveforms.remove(outcome.recording.recording_id)
            yield outcome

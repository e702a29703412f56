"""Stage one in processes that can be replaced: a recording that crashes one costs that recording alone."""

import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from multiprocessing import connection, get_context, parent_process

from pebble import ProcessExpired, ProcessPool

from ser_batch.config import VadConfig
from ser_batch.decoding import Decoded, Failed, Job, Outcome, Stamp, WorkspaceError, decode
from ser_batch.errors import UsageError
from ser_batch.recordings import Recording
from ser_batch.vad import SileroVad, Vad

PULSE_S = 1.0
GRACE_S = 5.0
"""How long recordings that are being decoded may go on once the run is to stop."""

_vad: Vad | None = None
_job: Job | None = None


def _start_worker(job: Job) -> None:
    """The parent decides about signals, and takes its workers along when it ends, however it ends."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    _job = job


def _work(recording: Recording, known_hash: str | None) -> Outcome:
    global _vad
    assert _job is not None
    # Once for each process; here, so that an error reaches whoever asked for it.
    _vad = _vad or load_vad(_job.config.vad)
    return decode(recording, known_hash, _job, _vad)


def load_vad(config: VadConfig) -> Vad:
    """The detector that the configuration names."""
    if config.engine == "pyannote":
        # Imported on demand: pyannote.audio takes seconds to import and brings all of torch along.
        from ser_batch.vad_pyannote import PyannoteVad

        return PyannoteVad(config)
    return SileroVad()


def decode_all(
    pending: Iterable[tuple[Recording, str | None]], job: Job, workers: int, stop: threading.Event
) -> Iterator[Outcome | None]:
    """Decodes recordings in `workers` processes, and yields each as it is done; None about every second.

    Only a few are decoded ahead of the consumer. A recording that crashes its process or outlasts
    its deadline is `Failed`; the others do not notice. Once `stop` is set, no more are begun, and
    those under way have `GRACE_S` to end.

    Raises:
        UsageError: the VAD cannot be loaded, or the working directory cannot be written.
    """
    queue = deque(pending)
    running: dict[Future, Recording] = {}
    deadline_s, pulse, give_up = job.config.run.deadline_s, time.monotonic(), time.monotonic() + GRACE_S
    with ProcessPool(workers, initializer=_start_worker, initargs=(job,), context=get_context("spawn")) as pool:
        try:
            while running or (queue and not stop.is_set()):
                # One recording more than workers, so that none waits for the consumer.
                while queue and len(running) <= workers and not stop.is_set():
                    recording, known_hash = queue.popleft()
                    running[pool.schedule(_work, (recording, known_hash), timeout=deadline_s)] = recording
                done, _ = wait(running, timeout=PULSE_S, return_when=FIRST_COMPLETED)
                for future in done:
                    recording = running.pop(future)
                    outcome = _outcome(future, recording, deadline_s)
                    if not isinstance(outcome, Decoded):
                        shutil.rmtree(job.work / recording.recording_id, ignore_errors=True)
                    yield outcome
                if not stop.is_set():
                    give_up = time.monotonic() + GRACE_S
                elif time.monotonic() >= give_up:
                    return
                if time.monotonic() - pulse >= PULSE_S:
                    pulse = time.monotonic()
                    yield None
        finally:
            pool.stop()
            pool.join()


def _outcome(future: Future, recording: Recording, deadline_s: float) -> Outcome:
    try:
        return future.result()
    except TimeoutError:
        error = f"decoding took longer than {deadline_s:g} s and was given up; raise run.deadline_s if it needs more"
    except ProcessExpired as expired:
        error = f"decoding crashed its process (exit code {expired.exitcode}): the file is probably damaged"
    except WorkspaceError as error_:
        raise UsageError(f"{error_}; make room, and run the same command again") from error_
    except MemoryError:
        error = "decoding ran out of memory: the file is probably damaged"
    return Failed(recording, _stamp(recording), None, error)


def _stamp(recording: Recording) -> Stamp | None:
    try:
        return Stamp.of(recording.file)
    except OSError:
        return None

"""Stage one in processes that can be replaced: a recording that crashes one costs that recording alone."""

import os
import shutil
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process

from pebble import ProcessExpired, ProcessPool

from ser_batch.config import VadConfig
from ser_batch.decoding import Decoded, Failed, Job, Outcome, Task, WorkspaceError, decode
from ser_batch.errors import UsageError
from ser_batch.vad import SileroVad, Vad

PULSE_S = 1.0
GRACE_S = 5.0
"""How long recordings that are being decoded may go on once the run is to stop."""
POOLS_WITHOUT_FRUIT = 4
"""So many pools in a row may die before they have decoded anything: somebody may have killed one or two."""
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of a process that somebody else ended: the out-of-memory killer, or a signal to the whole group."""

_vad: Vad | None = None
_job: Job | None = None


def load_vad(config: VadConfig) -> Vad:
    """The detector that the configuration names."""
    if config.engine == "pyannote":
        # Imported on demand: pyannote.audio takes seconds to import and brings all of torch along.
        from ser_batch.vad_pyannote import PyannoteVad

        return PyannoteVad(config)
    return SileroVad()


def _start_worker(job: Job) -> None:
    """The parent decides about signals, and takes its workers along when it ends, however it ends."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    _job = job
    # Codec libraries print warnings of their own; what they find goes into the rows.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _work(task: Task) -> Outcome:
    global _vad
    assert _job is not None
    # Once for each process; here, so that an error reaches whoever asked for it.
    _vad = _vad or load_vad(_job.config.vad)
    return decode(task, _job, _vad)


def decode_all(tasks: Iterable[Task], job: Job, workers: int, stop: threading.Event) -> Iterator[Outcome | None]:
    """Decodes recordings in `workers` processes, and yields each as it is done; None about every second.

    Only a few are decoded ahead of the consumer. A recording that crashes its process or outlasts its
    deadline is `Failed`; the others do not notice. One whose process was ended from outside is tried once
    more. Once `stop` is set, no more are begun, and those under way have `GRACE_S` to end.

    Raises:
        UsageError: the VAD cannot be loaded, the working directory cannot be written, or no process lives
            for long enough to decode anything.
    """
    queue = deque(tasks)
    deaths: Counter[Task] = Counter()
    fruitless = 0
    while queue and not stop.is_set():
        waiting = len(queue)
        try:
            yield from _decode_in_pool(queue, deaths, job, workers, stop)
        except BrokenProcessPool as error:
            # A process died between two recordings, and its pool with it: go on with a new one.
            fruitless = fruitless + 1 if len(queue) >= waiting else 0
            if fruitless == POOLS_WITHOUT_FRUIT:
                raise UsageError(
                    "decoding processes die as soon as they start. A script that calls analyze() needs "
                    "`if __name__ == '__main__':` around it; else see `ser doctor`"
                ) from error


def _decode_in_pool(
    queue: deque[Task], deaths: Counter[Task], job: Job, workers: int, stop: threading.Event
) -> Iterator[Outcome | None]:
    """Takes tasks from the queue; those that a dying pool had in hand go back to it."""
    running: dict[Future, Task] = {}
    pulse = give_up = time.monotonic()
    with ProcessPool(workers, initializer=_start_worker, initargs=(job,), context=get_context("spawn")) as pool:
        try:
            while running or (queue and not stop.is_set()):
                # One recording more than workers, so that none waits for the consumer.
                while queue and len(running) <= workers and not stop.is_set():
                    running[_schedule(pool, queue[0], job)] = queue[0]
                    queue.popleft()
                done, _ = wait(running, timeout=PULSE_S, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = _outcome(future, running[future], deaths, job)
                    task = running.pop(future)
                    if not isinstance(outcome, Decoded):
                        shutil.rmtree(job.work / task.recording.recording_id, ignore_errors=True)
                    if outcome is not None:
                        yield outcome
                    elif not stop.is_set():
                        queue.append(task)
                now = time.monotonic()
                if not stop.is_set():
                    give_up = now + GRACE_S
                elif now >= give_up:
                    return
                if now - pulse >= PULSE_S:
                    pulse = now
                    yield None
        finally:
            queue.extendleft(running.values())
            pool.stop()
            pool.join()


def _schedule(pool: ProcessPool, task: Task, job: Job) -> Future:
    try:
        return pool.schedule(_work, (task,), timeout=job.config.run.deadline_s)
    except RuntimeError as error:  # what pebble raises once its pool is broken
        raise BrokenProcessPool(str(error)) from error


def _outcome(future: Future, task: Task, deaths: Counter[Task], job: Job) -> Outcome | None:
    """What came of a recording; None if its process was ended from outside for the first time."""
    try:
        return future.result()
    except TimeoutError:
        error = (
            f"decoding took longer than {job.config.run.deadline_s:g} s and was given up: if it needs more, raise "
            "run.deadline_s and use --retry-failed"
        )
    except ProcessExpired as expired:
        deaths[task] += 1
        if expired.exitcode in _FROM_OUTSIDE and deaths[task] == 1:
            return None
        error = f"decoding crashed its process (exit code {expired.exitcode}): the file is probably damaged"
        if expired.exitcode in _FROM_OUTSIDE:
            error = (
                f"its process was ended twice from outside (exit code {expired.exitcode}), probably for want of "
                "memory: use fewer --workers and --retry-failed"
            )
    except WorkspaceError as workspace:
        raise UsageError(f"{workspace}; make room, and run the same command again") from workspace
    except (UsageError, BrokenProcessPool):
        raise
    except MemoryError:
        error = "decoding it needs more memory than there is: use fewer --workers and --retry-failed"
    except Exception as unexpected:  # whatever a strange file does, it costs itself alone
        error = f"decoding failed in a way that nobody foresaw, please report it: {unexpected!r}"
    return Failed(task.recording, task.stamp, None, error)

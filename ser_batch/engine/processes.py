"""Decoding in replaceable processes: a crash fails only its own recording.

Each process has its own pipe, which its death closes, whenever that happens. In the
usual pools (pebble, concurrent.futures), all processes share a queue and its lock. A
process killed at the wrong moment keeps the lock or leaves half a message, and the
others wait forever.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from signal import SIGKILL, SIGTERM

from ser_batch.engine.engine import TICK, Tick
from ser_batch.engine.worker import GRACE_S, READY, Worker
from ser_batch.errors import FailureKind, UsageError
from ser_batch.speech.decoded import (
    Decoded,
    Failed,
    Job,
    Outcome,
    Task,
    out_of_memory,
    past_deadline,
)
from ser_batch.speech.waveforms import WorkspaceError

TICK_S = 1.0
TASKS_PER_WORKER = 2
"""One being decoded, and one queued, so that it need not wait for the consumer."""
START_S = 120.0
"""A process that is not ready after this time never will be."""
MAX_FAILED_STARTS, MAX_KILLED_STARTS = 4, 20
"""How many processes in a row may end before they are ready.

The first counts those that end by themselves, the second those killed from outside.
"""
_FROM_OUTSIDE = (-SIGKILL, -SIGTERM)
"""Exit codes of a process that was killed from outside.

By the out-of-memory killer, or by a signal to the whole process group.
"""


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Decodes in `n` processes on this machine.

    Only a few recordings are decoded ahead of the consumer. A recording that crashes
    its process or exceeds its deadline is `Failed`; the others are not affected. A
    recording whose process was killed from outside is retried once.
    """

    n: int

    def decode(
        self, tasks: Iterable[Task], job: Job, stop: threading.Event
    ) -> Iterator[Outcome | Tick]:
        """Decode recordings in any order; see `Engine`.

        After `stop` is set, recordings in progress have `GRACE_S` to finish.

        Raises:
            UsageError: the VAD cannot be loaded, the waveforms cannot be written, or no
                process lives long enough to decode anything.
        """
        pool = _Pool(tasks, job, self.n)
        ticked = looked = time.monotonic()
        give_up: float | None = None
        try:
            while pool.n_held or (pool.queue and not stop.is_set()):
                if stop.is_set():
                    give_up = give_up or time.monotonic() + GRACE_S
                    pool.end_starting()
                else:
                    pool.fill()
                connection.wait([worker.pipe for worker in pool.workers], TICK_S)
                now = time.monotonic()
                # Time in which the consumer was busy, or this process was suspended,
                # does not count towards deadlines.
                passed_s, looked = min(now - looked, 2 * TICK_S), now
                for outcome in pool.outcomes(passed_s, stop):
                    if not isinstance(outcome, Decoded):
                        job.waveforms.remove(outcome.recording.recording_id)
                    yield outcome
                if give_up and time.monotonic() >= give_up:
                    return
                if time.monotonic() - ticked >= TICK_S:
                    ticked = time.monotonic()
                    yield TICK
        finally:
            pool.end()


class _Pool:
    """The processes of a run, and the tasks that are not assigned yet."""

    def __init__(self, tasks: Iterable[Task], job: Job, size: int) -> None:
        self.queue = deque(tasks)
        self.workers: list[Worker] = []
        self._job, self._size = job, size
        self._deaths: Counter[Task] = Counter()
        self._failed_starts = self._killed_starts = 0

    @property
    def n_held(self) -> int:
        """The number of tasks assigned to processes."""
        return sum(len(worker.tasks) for worker in self.workers)

    def fill(self) -> None:
        """Start as many processes as there is work for, and assign tasks to them.

        Idle processes come first.
        """
        while len(self.workers) < min(self._size, len(self.queue) + self.n_held):
            try:
                self.workers.append(Worker(self._job))
            except OSError as error:
                if self.workers:
                    break  # fewer will do
                raise UsageError(
                    f"cannot start a decoding process: {error.strerror}; use fewer "
                    "--workers, or close other programs"
                ) from error
        for n_held in range(TASKS_PER_WORKER):
            for worker in self.workers:
                # Keep the last tasks for processes that become idle, so that none waits
                # behind a long recording.
                keep = len(self.workers) if n_held else 0
                if len(self.queue) > keep and len(worker.tasks) == n_held:
                    worker.give(self.queue.popleft())

    def outcomes(self, passed_s: float, stop: threading.Event) -> Iterator[Outcome]:
        """Yield the outcomes that are ready, `passed_s` after the last call."""
        for worker in list(self.workers):
            worker.spent_s += passed_s
            if worker.pipe.poll():
                outcome = self._receive(worker, stop)
            else:
                outcome = self._check_deadline(worker)
            if outcome is None:
                continue
            yield outcome
            if stop.is_set() and worker.tasks:
                self._end_worker(worker)  # it would start its next recording

    def end_starting(self) -> None:
        """End the processes that are not ready yet, so that they start no recording."""
        for worker in list(self.workers):
            if not worker.is_ready:
                self._end_worker(worker)

    def end(self) -> None:
        """End all processes."""
        for worker in list(self.workers):
            self._end_worker(worker)

    def _end_worker(self, worker: Worker) -> int | None:
        """End a process, put its tasks back in the queue, and return its exit code."""
        self.workers.remove(worker)
        self.queue.extendleft(reversed(worker.tasks))
        worker.tasks.clear()
        return worker.end()

    def _receive(self, worker: Worker, stop: threading.Event) -> Outcome | None:
        """Return the outcome that a process has sent, or None.

        None if the process has become ready, or has died and its task is retried.
        """
        try:
            message = worker.answer()
        except EOFError:
            return self._after_death(worker, stop)
        if message == READY:
            worker.is_ready = True
            self._failed_starts = self._killed_starts = 0
            return None
        return _outcome(message, worker.tasks.popleft())

    def _check_deadline(self, worker: Worker) -> Outcome | None:
        """End a process whose recording exceeds its deadline, or that never starts."""
        if not worker.is_ready:
            if worker.spent_s > START_S:
                self._end_worker(worker)
                self._count_failed_start(None)
            return None
        deadline_s = self._job.config.run.deadline_s
        if not worker.tasks or worker.spent_s <= deadline_s:
            return None
        task = worker.tasks.popleft()
        self._end_worker(worker)
        return past_deadline(task, deadline_s)

    def _after_death(self, worker: Worker, stop: threading.Event) -> Outcome | None:
        """Return the failure of what a dead process was decoding, or None.

        None if it was not decoding, or if the recording is retried: it is not blamed
        the first time that its process is killed from outside.
        """
        was_ready = worker.is_ready
        task = worker.tasks.popleft() if was_ready and worker.tasks else None
        exitcode = self._end_worker(worker)
        if not was_ready and not stop.is_set():
            self._count_failed_start(exitcode)
        if task is None:
            return None
        self._deaths[task] += 1
        from_outside = exitcode in _FROM_OUTSIDE
        if stop.is_set() or (from_outside and self._deaths[task] == 1):
            self.queue.append(task)
            return None
        if from_outside:
            return Failed(
                task.recording,
                None,
                None,
                FailureKind.KILLED,
                "its process was killed from outside twice (exit code "
                f"{exitcode}), probably for lack of memory: use fewer --workers. The "
                "next run tries again",
            )
        return _failed(
            task,
            FailureKind.CRASHED,
            f"decoding crashed (exit code {exitcode}): the file is probably damaged; "
            "copy it again, or convert it to WAV",
        )

    def _count_failed_start(self, exitcode: int | None) -> None:
        """Count a process that ended before it was ready.

        Raises:
            UsageError: this has happened too often in a row.
        """
        if exitcode in _FROM_OUTSIDE:
            self._killed_starts += 1
        else:
            self._failed_starts += 1
        if self._killed_starts >= MAX_KILLED_STARTS:
            raise UsageError(
                "decoding processes keep being killed from outside before they start "
                f"(exit code {exitcode}), probably for lack of memory: use fewer "
                "--workers, and run the same command again"
            )
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise UsageError(
                f"decoding processes die as soon as they start (exit code {exitcode}). "
                "A script that calls analyze() needs `if __name__ == '__main__':` "
                "around it; otherwise, see `ser doctor`"
            )


def _outcome(message: Outcome | Exception | str, task: Task) -> Outcome:
    """Return the outcome of a task from the message of its process.

    Raises:
        UsageError: the message is about the run, not the recording.
    """
    if isinstance(message, WorkspaceError):
        advice = "free up disk space, and run the same command again"
        raise UsageError(f"{message}; {advice}", path=message.path) from message
    if isinstance(message, UsageError):
        raise message
    if isinstance(message, MemoryError):
        return out_of_memory(task)
    if isinstance(message, (Exception, str)):
        # Whatever a malformed file does, it fails only its own recording.
        return _failed(
            task,
            FailureKind.UNEXPECTED,
            "decoding failed unexpectedly; please report it",
            repr(message),
        )
    return message


def _failed(
    task: Task, kind: FailureKind, error: str, detail: str | None = None
) -> Failed:
    return Failed(task.recording, task.stamp, None, kind, error, detail)

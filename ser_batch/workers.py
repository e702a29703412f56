"""Stage one in processes that can be replaced: a recording that crashes one costs that recording alone.

Each process has a pipe of its own. In the pools that we know (pebble, concurrent.futures), all processes share a queue
and its lock, and one that is killed at the wrong instant takes the lock along, or leaves half a message: then the
others wait for ever. A pipe of its own is closed by the death of its process, whenever that comes.
"""

import os
import pickle
import shutil
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker

from ser_batch.config import VadConfig
from ser_batch.decoding import Decoded, Failed, Job, Outcome, Task, WorkspaceError, decode
from ser_batch.errors import UsageError
from ser_batch.vad import SileroVad, Vad

PULSE_S = 1.0
GRACE_S = 5.0
"""How long recordings that are being decoded may go on once the run is to stop."""
AHEAD = 2
"""Tasks that a process holds: one in work, and one so that it need not wait for the consumer."""
START_S = 120.0
"""A process that is not ready after so long never will be."""
STILLBORN, SHOT = 4, 20
"""So many processes in a row may end before they are ready: of themselves, and at the hands of others."""
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of a process that somebody else ended: the out-of-memory killer, or a signal to the whole group."""
_READY = "ready"


def load_vad(config: VadConfig) -> Vad:
    """The detector that the configuration names."""
    if config.engine == "pyannote":
        # Imported on demand: pyannote.audio takes seconds to import and brings all of torch along.
        from ser_batch.vad_pyannote import PyannoteVad

        return PyannoteVad(config)
    return SileroVad()


def _serve(pipe: connection.Connection, job: Job) -> None:
    """A process's life: tasks in, outcomes or errors out. It ends with its parent, however that ends."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    # Codec libraries print warnings of their own; what they find goes into the rows.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pipe.send(_READY)
    vad: Vad | None = None
    while True:
        task = pipe.recv()
        try:
            vad = vad or load_vad(job.config.vad)
            answer: Outcome | Exception = decode(task, job, vad)
        except Exception as error:
            answer = _sendable(error)
        pipe.send(answer)


def _sendable(error: Exception) -> Exception:
    """The error, or, as those of some libraries do not survive the way through a pipe, one that tells of it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error


class _Worker:
    """A decoding process, and the tasks that it holds: the first is in work."""

    def __init__(self, job: Job) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        # What a terminal sends is for the parent to decide on: what is blocked here stays blocked there. (The tracker,
        # when it starts, would unblock it.)
        resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()  # now its death closes the pipe
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.spent_s = 0.0
        """How long it has been starting, or at its first task; without the time in which nobody looked."""

    def give(self, task: Task) -> None:
        if self.ready and not self.tasks:
            self.spent_s = 0.0
        self.tasks.append(task)
        with suppress(OSError):  # it has died: reading from the pipe will tell
            self.pipe.send(task)

    def answer(self) -> Outcome | Exception | str:
        """Its next message.

        Raises:
            EOFError: it has died.
        """
        try:
            return self.pipe.recv()
        except EOFError:
            raise
        except Exception as error:  # half a message, from a process that died while it wrote
            raise EOFError from error
        finally:
            self.spent_s = 0.0

    def end(self) -> int | None:
        """Ends it at once, if it lives; gives its exit code. One that hangs in the system is not waited for."""
        self.process.kill()
        self.process.join(GRACE_S)
        self.pipe.close()
        return self.process.exitcode


def decode_all(tasks: Iterable[Task], job: Job, workers: int, stop: threading.Event) -> Iterator[Outcome | None]:
    """Decodes recordings in `workers` processes, and yields each as it is done; None about every second.

    Only a few are decoded ahead of the consumer. A recording that crashes its process or outlasts its
    deadline is `Failed`; the others do not notice. One whose process was ended from outside is tried once
    more. Once `stop` is set, no more are begun, and those under way have `GRACE_S` to end.

    Raises:
        UsageError: the VAD cannot be loaded, the working directory cannot be written, or no process lives
            for long enough to decode anything.
    """
    team = _Team(tasks, job, workers)
    pulse = looked = time.monotonic()
    give_up: float | None = None
    try:
        while team.in_hand or (team.queue and not stop.is_set()):
            if stop.is_set():
                give_up = give_up or time.monotonic() + GRACE_S
                team.dismiss_beginners()
            else:
                team.employ()
            connection.wait([worker.pipe for worker in team.workers], PULSE_S)
            now = time.monotonic()
            # While the consumer was busy, or all of us were stopped, no deadline came nearer.
            passed_s, looked = min(now - looked, 2 * PULSE_S), now
            for worker in list(team.workers):
                worker.spent_s += passed_s
                outcome = team.hear(worker, stop) if worker.pipe.poll() else team.look_after(worker)
                if outcome is None:
                    continue
                if not isinstance(outcome, Decoded):
                    shutil.rmtree(job.work / outcome.recording.recording_id, ignore_errors=True)
                yield outcome
                if stop.is_set() and worker.tasks:
                    team.dismiss(worker)  # it would begin another one
            if give_up and time.monotonic() >= give_up:
                return
            if time.monotonic() - pulse >= PULSE_S:
                pulse = time.monotonic()
                yield None
    finally:
        for worker in list(team.workers):
            team.dismiss(worker)


class _Team:
    """The processes of a run, and the tasks that none of them holds yet."""

    def __init__(self, tasks: Iterable[Task], job: Job, size: int) -> None:
        self.queue = deque(tasks)
        self.workers: list[_Worker] = []
        self._job, self._size = job, size
        self._deaths: Counter[Task] = Counter()
        self._stillborn = self._shot = 0

    @property
    def in_hand(self) -> int:
        """Tasks that processes hold."""
        return sum(len(worker.tasks) for worker in self.workers)

    def employ(self) -> None:
        """Has as many processes as there is work for, and gives each what it can hold, the idle ones first."""
        while len(self.workers) < min(self._size, len(self.queue) + self.in_hand):
            try:
                self.workers.append(_Worker(self._job))
            except OSError as error:
                if self.workers:
                    break  # fewer will do
                raise UsageError(
                    f"no process can be started for decoding: {error.strerror}; "
                    "use fewer --workers, or end other programs"
                ) from error
        for held in range(AHEAD):
            for worker in self.workers:
                # At the end of the queue, nothing waits behind a long recording while others are idle.
                enough = len(self.queue) > (len(self.workers) if held else 0)
                if enough and len(worker.tasks) == held:
                    worker.give(self.queue.popleft())

    def dismiss(self, worker: _Worker) -> int | None:
        """Ends a process, and puts what it held back into the queue; gives its exit code."""
        self.workers.remove(worker)
        self.queue.extendleft(reversed(worker.tasks))
        worker.tasks.clear()
        return worker.end()

    def dismiss_beginners(self) -> None:
        """Ends the processes that are still starting: they would begin a recording."""
        for worker in list(self.workers):
            if not worker.ready:
                self.dismiss(worker)

    def hear(self, worker: _Worker, stop: threading.Event) -> Outcome | None:
        """What a process has to say: an outcome, or None where it is ready to begin, or has died and its task goes
        to another one."""
        try:
            message = worker.answer()
        except EOFError:
            return self._bury(worker, stop)
        if message == _READY:
            worker.ready, self._stillborn, self._shot = True, 0, 0
            return None
        return _outcome(message, worker.tasks.popleft())

    def look_after(self, worker: _Worker) -> Outcome | None:
        """Ends a process whose recording has outlasted its deadline, or that does not get ready."""
        if not worker.ready:
            if worker.spent_s > START_S:
                self.dismiss(worker)
                self._stillbirth(None)
            return None
        if not worker.tasks or worker.spent_s <= self._job.config.run.deadline_s:
            return None
        task = worker.tasks.popleft()
        self.dismiss(worker)
        return _failed(
            task,
            f"decoding took longer than {self._job.config.run.deadline_s:g} s and was given up: if it needs more, "
            "raise run.deadline_s and use --retry-failed",
        )

    def _bury(self, worker: _Worker, stop: threading.Event) -> Outcome | None:
        """A process has died. What it decoded is to blame, unless it was ended from outside for the first time."""
        if not worker.ready:
            exitcode = self.dismiss(worker)
            if not stop.is_set():
                self._stillbirth(exitcode)
            return None
        task = worker.tasks.popleft() if worker.tasks else None
        exitcode = self.dismiss(worker)
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
                f"its process was ended twice from outside (exit code {exitcode}), probably for want of memory: use "
                "fewer --workers. The next run tries again",
            )
        return _failed(
            task,
            f"decoding crashed its process (exit code {exitcode}): the file is probably damaged; copy it again, "
            "or convert it to WAV",
        )

    def _stillbirth(self, exitcode: int | None) -> None:
        """Counts a process that ended before it was ready; if there are too many in a row, nothing will come of it."""
        if exitcode in _FROM_OUTSIDE:
            self._shot += 1
        else:
            self._stillborn += 1
        if self._shot >= SHOT:
            raise UsageError(
                f"decoding processes are ended from outside before they begin (exit code {exitcode}), probably for "
                "want of memory: use fewer --workers, and run the same command again"
            )
        if self._stillborn >= STILLBORN:
            raise UsageError(
                f"decoding processes die as soon as they start (exit code {exitcode}). A script that calls analyze() "
                "needs `if __name__ == '__main__':` around it; else see `ser doctor`"
            )


def _outcome(message: Outcome | Exception | str, task: Task) -> Outcome:
    """What a process says of a task; what concerns the run and not the recording is raised."""
    if isinstance(message, WorkspaceError):
        raise UsageError(f"{message}; make room, and run the same command again") from message
    if isinstance(message, UsageError):
        raise message
    if isinstance(message, MemoryError):
        return _failed(task, "decoding it needs more memory than there is: use fewer --workers and --retry-failed")
    if isinstance(message, (Exception, str)):  # whatever a strange file does, it costs itself alone
        return _failed(task, f"decoding failed in a way that nobody foresaw, please report it: {message!r}")
    return message


def _failed(task: Task, error: str) -> Failed:
    return Failed(task.recording, task.stamp, None, error)

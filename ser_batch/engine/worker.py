"""One decoding process: what it runs, and how its parent handles it."""

import os
import pickle
import signal
import threading
from collections import deque
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker

from ser_batch.speech.decoded import Job, Outcome, Task
from ser_batch.speech.decoding import decode
from ser_batch.speech.diarization import Diarizer
from ser_batch.speech.loading import load_diarizer, load_vad
from ser_batch.speech.vad import Vad

GRACE_S = 5.0
"""How long to wait for a process that was ended."""
READY = "ready"
"""The first message of a process: it has started."""


def serve(pipe: connection.Connection, job: Job) -> None:
    """Answer each task from the pipe with an outcome or an error.

    The process ends with its parent, however the parent ends.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()
    # Hide the warnings that codec libraries print; defects are noted in the rows.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pipe.send(READY)
    models: tuple[Vad, Diarizer | None] | None = None
    while True:
        task = pipe.recv()
        try:
            models = models or (load_vad(job.config.vad), load_diarizer(job.config))
            answer: Outcome | Exception = decode(task, job, *models)
        except Exception as error:
            answer = _sendable(error)
        pipe.send(answer)


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _sendable(error: Exception) -> Exception:
    """Return the error, or one that describes it if it does not pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error


class Worker:
    """A decoding process and its tasks; the first is being decoded."""

    def __init__(self, job: Job) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, job), daemon=True)
        # The parent decides about signals from the terminal. Signals that are blocked
        # here stay blocked in the child. (The resource tracker would unblock them on
        # its start.)
        resource_tracker.ensure_running()
        from_terminal = {signal.SIGINT, signal.SIGHUP}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, from_terminal)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()  # so that the death of the process closes the pipe
        self.tasks: deque[Task] = deque()
        self.is_ready = False
        self.spent_s = 0.0
        """Time spent on starting or on its first task, in seconds.

        Time in which the parent did not look is not included.
        """

    def give(self, task: Task) -> None:
        """Send a task to the process."""
        if self.is_ready and not self.tasks:
            self.spent_s = 0.0
        self.tasks.append(task)
        with suppress(OSError):  # it has died, and the next read from the pipe shows it
            self.pipe.send(task)

    def answer(self) -> Outcome | Exception | str:
        """Return the next message of the process.

        Raises:
            EOFError: it has died.
        """
        try:
            return self.pipe.recv()
        except EOFError:
            raise
        except Exception as error:  # half a message: it died while writing
            raise EOFError from error
        finally:
            self.spent_s = 0.0

    def end(self) -> int | None:
        """Kill the process, if it is alive, and return its exit code.

        One that hangs in the kernel is waited for no longer than `GRACE_S`.
        """
        self.process.kill()
        self.process.join(GRACE_S)
        self.pipe.close()
        return self.process.exitcode

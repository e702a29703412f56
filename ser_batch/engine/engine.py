"""The interface between the stages and the machines that they run on."""

import threading
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, Protocol

from ser_batch.emotion.analysis import Analysis
from ser_batch.speech.decoded import Growing, Job, Outcome, Task, Unchanged


class Tick(Enum):
    """A marker in a stream of outcomes: nothing new, but a second has passed."""

    TICK = "tick"


TICK: Final = Tick.TICK
Finished = Analysis | Unchanged | Growing
"""A recording for which nothing is left to be done."""


class Engine(Protocol):
    """Runs `speech.decoding.decode` on recordings.

    `LocalProcesses` uses processes on this machine, `ThisProcess` only the calling one.
    (`RayEngine` scores recordings as well.)
    """

    def decode(
        self, tasks: Iterable[Task], job: Job, stop: threading.Event
    ) -> Iterator[Outcome | Tick]:
        """Decode recordings, and yield each when it is done; `TICK` about every second.

        After `stop` is set, no more recordings are started.

        Raises:
            UsageError: the job cannot be done at all.
        """
        ...

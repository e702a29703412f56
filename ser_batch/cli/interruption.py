"""Signals that stop a run: the first one cleanly, the second one at once."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import typer

from ser_batch.errors import ExitCode


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGINT, SIGTERM and SIGHUP set; a second signal exits."""
    stop = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # SIGHUP means a closed terminal. If `nohup` ignores it, it must stay ignored.
    heeded = [signal.SIGINT, signal.SIGTERM]
    heeded += (
        [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL else []
    )
    before = {number: signal.signal(number, on_signal) for number in heeded}
    try:
        yield stop
    except KeyboardInterrupt:
        typer.echo("Stopped at once: run the same command again to resume.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


T = TypeVar("T")


class Interruptible(Generic[T]):
    """Items until Ctrl-C; see `until_interrupted`.

    Attributes:
        interrupted: whether Ctrl-C came.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items, self._waits, self.interrupted = iter(items), False, False

    def on_signal(self, number: int, frame: Any) -> None:
        """End the wait for the next item, or remember to."""
        if self._waits or self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __iter__(self) -> Iterator[T]:
        """Yield items; what is done with each is not interrupted."""
        while not self.interrupted:
            try:
                self._waits = True
                item = next(self._items, self)
                self._waits = False
            except KeyboardInterrupt:
                self._waits, self.interrupted = False, True
                return
            if item is self:
                return
            yield item  # type: ignore[misc]


@contextmanager
def until_interrupted(items: Iterable[T]) -> Iterator[Interruptible[T]]:
    """Give items until Ctrl-C, which never comes between; a second one ends at once."""
    own = Interruptible(items)
    before = signal.signal(signal.SIGINT, own.on_signal)
    try:
        yield own
    finally:
        signal.signal(signal.SIGINT, before)

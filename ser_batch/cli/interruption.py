"""Signals that end a run: once to end it well, twice to end it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from ser_batch.errors import ExitCode


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that SIGINT, SIGTERM and SIGHUP set; the second of them leaves."""
    stop = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # SIGHUP: the terminal is closed. One that `nohup` ignores stays ignored.
    heeded = [signal.SIGINT, signal.SIGTERM]
    heeded += (
        [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL else []
    )
    before = {number: signal.signal(number, on_signal) for number in heeded}
    try:
        yield stop
    except KeyboardInterrupt:
        typer.echo("Left at once: run the same command again to go on.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

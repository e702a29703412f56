"""Signals that stop a run: the first one cleanly, the second one at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

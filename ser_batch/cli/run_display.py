"""Progress display and final summary of `ser analyze`."""

import threading
import time
from contextlib import suppress
from typing import Self

from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ser_batch.cli.terminal import Terminal
from ser_batch.config.options import Config
from ser_batch.engine.progress import Progress
from ser_batch.text import clock, counted, printable

PLAIN_EVERY_S = 30.0
SHOWN_FAILURES = 5
WHY_NOT_SCORED = {
    "no_speech": "without speech",
    "customer_silent": "in which the customer does not speak",
    "voices_unclear": "in which no voice is clearly the customer's",
    "too_short": "whose speech is too short",
    "abstained": "in which the model was too unsure for any label",
}


class Display:
    """Progress on standard error: a live line on a terminal, else occasional lines."""

    def __init__(self, quiet: bool, stop: threading.Event) -> None:
        self._console = Terminal(stderr=True, quiet=quiet)
        self._live = (
            Live(console=self._console, transient=True)
            if self._console.is_terminal and not quiet
            else None
        )
        self._stop = stop
        self._last = time.monotonic()
        self._gone = False

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._live.update(
                Text("looking for recordings and loading the model ..."), refresh=True
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            with suppress(OSError):
                self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show the progress of the run.

        If the terminal goes away, the display ends and the run continues.
        """
        if self._gone:
            return
        try:
            if self._live:
                self._live.update(self._line(progress))
            elif time.monotonic() - self._last >= PLAIN_EVERY_S:
                self._last = time.monotonic()
                self._console.print(
                    status(progress), highlight=False, markup=False, soft_wrap=True
                )
        except OSError:
            self._gone = True

    def _line(self, progress: Progress) -> Table:
        grid = Table.grid(padding=(0, 1))
        total = max(1, progress.total_bytes)
        line = (
            "stopping: finishing recordings in progress ..."
            if self._stop.is_set()
            else status(progress)
        )
        grid.add_row(ProgressBar(total, progress.finished_bytes, width=24), Text(line))
        return grid


def status(progress: Progress) -> str:
    """Format one line: recordings, hours of audio, speed, failures, time left."""
    to_do = progress.found - progress.skipped - progress.copies
    finished = to_do - progress.pending
    left = progress.left_s
    return (
        f"{finished}/{to_do} recordings · {progress.audio_s / 3600:.2f} h · "
        f"{_speed(progress)}"
        + (f" · {progress.failed} failed" if progress.failed else "")
        + ("" if left is None else f" · {clock(left)} left")
    )


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def _speed(progress: Progress) -> str:
    return f"{progress.audio_s / max(progress.elapsed_s, 1e-3):.0f} x real time"


def _copies(n: int) -> str:
    return f"{n} {'copy' if n == 1 else 'copies'} of other recordings (not counted)"


def print_summary(progress: Progress, out: str, config: Config, quiet: bool) -> None:
    """Print the outcome of a run, warnings, and the next command to type.

    With `quiet`, print only the failures.
    """
    if quiet:
        _print_failures(progress, Terminal(stderr=True))
        return
    console = Terminal()

    def say(line: str, style: str = "") -> None:
        console.print(
            line,
            style=style or None,
            highlight=False,
            soft_wrap=not console.is_terminal,
        )

    parts = [f"{progress.done} done"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.skipped} already analysed"] if progress.skipped else []
    if progress.failed_before:
        parts[-1] += (
            f" ({progress.failed_before} of them failed: retry with --retry-failed)"
        )
    parts += [_copies(progress.copies)] if progress.copies else []
    parts += (
        [f"{progress.growing} still being written (left for the next run)"]
        if progress.growing
        else []
    )
    parts += [f"{progress.pending} not started"] if progress.pending else []
    say(f"{counted(progress.found, 'recording')}: {', '.join(parts)}", "bold")
    if progress.done:
        say(
            f"{progress.audio_s / 3600:.2f} h of audio, "
            f"{counted(progress.segments, 'segment')}, "
            f"in {_time(progress.elapsed_s)} ({_speed(progress)})"
        )
    if progress.ignored:
        say(f"{counted(progress.ignored, 'file')} skipped: not audio")
    if progress.moved:
        say(
            f"{counted(progress.moved, 'recording')} moved since the last run: paths "
            "updated"
        )
    _print_failures(progress, console)
    if progress.without_roles:
        say(
            "Everyone was scored in "
            f"{counted(progress.without_roles, 'recording')} with several speakers. "
            "If agents are among them, name the roles (--roles agent,customer): "
            "inferring the emotions of employees is restricted by law in many "
            "jurisdictions, and roles improve the timing measures.",
            "yellow",
        )
    if progress.not_scored:
        say(f"Not scored: {_not_scored(progress, config)}.", "yellow")
    if not progress.has_links and not progress.held:
        say(
            "The results are on a file system without links: while a run commits, "
            "readers other than ser may see rows twice or miss some.",
            "yellow",
        )
    say(f"Model {escape(config.score.bundle)}: {escape(progress.licence)}", "dim")
    if progress.interrupted and config.run.strict and progress.failed:
        say(
            "Stopped at the first recording that failed (--strict); run without it to "
            "continue.",
            "yellow",
        )
    elif progress.interrupted:
        say("Interrupted: run the same command again to resume.", "yellow")
    else:
        say(f"Next: ser report {escape(str(out))}")


def _not_scored(progress: Progress, config: Config) -> str:
    """Return how many recordings have no label, why, and what to do."""
    said = []
    for (reason, is_mono), n in progress.not_scored.most_common():
        call = "mono call" if is_mono else "recording"
        calls = f"{n:,} {call}{'s' if n > 1 else ''}"
        if reason == "speakers_unknown":
            why = _why_unknown(is_mono, config)
        else:
            why = WHY_NOT_SCORED[reason]
        said.append(f"{calls} {why}")
    return "; ".join(said)


def _why_unknown(is_mono: bool, config: Config) -> str:
    """Return why nobody was scored, so that no agent is by mistake."""
    if not is_mono:
        return "whose number of channels does not match --roles"
    if config.speakers.agent_is is None:
        return "whose agent is unknown (give --agent-is first, last or most)"
    return "whose voices could not be told apart or named (see their notes)"


def _print_failures(progress: Progress, console: Terminal) -> None:
    lines = [
        f"cannot be read: {printable(folder)}"
        for folder in progress.unreadable[:SHOWN_FAILURES]
    ]
    lines += [
        f"failed: {path}: {error}" for path, error in progress.failures[:SHOWN_FAILURES]
    ]
    if progress.failed > SHOWN_FAILURES:
        lines.append(
            f"... and {progress.failed - SHOWN_FAILURES} more: `ser report` lists them"
        )
    for line in lines:
        console.print(
            line,
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=not console.is_terminal,
        )

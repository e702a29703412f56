"""What a run did, as JSON lines: one event for its start, each recording and its end. No audio, no metadata."""

import json
import os
import stat
import warnings
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from ser_batch.errors import UsageError


class RunLog:
    """Appends events to a file, each as one line; without a path it does nothing.

    A log that cannot be written any more is warned of once, and the run goes on: its rows matter more.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: IO[str] | None = None
        if path:
            _check_log(path)
            try:
                os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
                self._file = Path(path).open(  # noqa: SIM115
                    "a", encoding="utf-8", errors="backslashreplace"
                )
            except OSError as error:
                raise UsageError(
                    f"--log-file {path}: cannot be written: {error.strerror}; choose another file"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file:
            self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """One line: when, what, and what there is to say of it."""
        if self._file is None:
            return
        line = {
            "at": datetime.now(UTC).isoformat(),
            "event": event,
            "pid": os.getpid(),
            **values,
        }
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            self._file = None
            warnings.warn(
                f"{self._path}: cannot be written any more ({error.strerror}); the run goes on",
                stacklevel=2,
            )


def check_place(path: str | None, out: Path) -> None:
    """That a log does not lie among the rows of a results directory.

    Raises:
        UsageError: it would.
    """
    place, rows = Path(os.path.abspath(path or "")), os.path.abspath(out)
    if path and place.is_relative_to(rows) and place.parent != Path(rows):
        raise UsageError(
            f"--log-file {path}: lies among the rows of {out}; choose a place outside, or {out} itself"
        )


def _check_log(path: str) -> None:
    """That no recording and no results would be written to.

    Raises:
        UsageError: the file holds something else, or is a pipe that nobody may ever read.
    """
    try:
        mode = os.stat(path).st_mode
        with open(path, "rb") if stat.S_ISREG(mode) else nullcontext() as file:
            first = file.readline(1 << 20) if file else b""
    except OSError:
        return  # opening it will tell
    if stat.S_ISFIFO(mode) and not path.startswith(("/dev/", "/proc/")):
        raise UsageError(
            f"--log-file {path}: is a pipe, and a run would wait for its reader; choose a file"
        )
    if first and not _is_event(first):
        raise UsageError(
            f"--log-file {path}: holds something else than a log; choose a new file"
        )


def _is_event(line: bytes) -> bool:
    try:
        return "event" in json.loads(line)
    except (ValueError, TypeError):
        return False

"""The log of a run as JSON lines: its start, each recording and its end.

It contains no audio and no metadata.
"""

import json
import os
import stat
import warnings
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from ser_batch.errors import UsageError

_STREAMS = ("/dev/fd/", "/dev/std", "/proc/")
"""Where pipes are the streams of this process, which somebody reads."""


class RunLog:
    """Appends events to a file, one per line; without a path, it does nothing.

    If the log becomes unwritable, it warns once and the run continues: its rows matter
    more.
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
                    f"--log-file {path}: cannot be written: {error.strerror}; choose "
                    "another file"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file:
            self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """Append a line with the time, the event and its values."""
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
                f"{self._path}: can no longer be written ({error.strerror}); the run "
                "continues",
                stacklevel=2,
            )


def check_log_location(path: str | None, out: Path) -> None:
    """Check that a log is not in a subfolder of a results directory.

    Raises:
        UsageError: it is.
    """
    place, rows = Path(os.path.abspath(path or "")), os.path.abspath(out)
    if path and place.is_relative_to(rows) and place.parent != Path(rows):
        raise UsageError(
            f"--log-file {path}: is in a subfolder of {out}, among its rows; choose a "
            f"path outside, or directly in {out}"
        )


def _check_log(path: str) -> None:
    """Check that the log would not be written to a recording or to results.

    Raises:
        UsageError: the file is not a log, or is a pipe that may never be read.
    """
    try:
        mode = os.stat(path).st_mode
        with open(path, "rb") if stat.S_ISREG(mode) else nullcontext() as file:
            first = file.readline(1 << 20) if file else b""
    except OSError:
        return  # opening it for writing will fail too, and report why
    if stat.S_ISFIFO(mode) and not path.startswith(_STREAMS):
        raise UsageError(
            f"--log-file {path}: is a pipe, and the run would wait for its reader; "
            "choose a file"
        )
    if first and not _is_event(first):
        raise UsageError(
            f"--log-file {path}: exists and is not a log; choose a new file"
        )


def _is_event(line: bytes) -> bool:
    try:
        return "event" in json.loads(line)
    except (ValueError, TypeError):
        return False

"""What a run did, as JSON lines: one event for its start, each recording and its end. No audio, no metadata."""

import json
import os
import warnings
from datetime import UTC, datetime
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
            try:
                os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
                self._file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
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
        line = {"at": datetime.now(UTC).isoformat(), "event": event, "pid": os.getpid(), **values}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            self._file = None
            warnings.warn(f"{self._path}: cannot be written any more ({error.strerror}); the run goes on", stacklevel=2)

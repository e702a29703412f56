"""The exception tree, the kinds of failure, and the exit codes.

    SerError                  every error that this package raises on purpose
    ├── UsageError            an argument or an option is wrong                 exit 2
    │   ├── ConfigError       a configuration key or value is wrong
    │   ├── BundleError       a model on disk is missing, damaged or does not fit
    │   ├── ResultsError      a results directory cannot be used as asked
    │   │   ├── DamagedPart       a live part cannot be read
    │   │   └── ResultsChanged    a run has replaced what was being read: open it again
    │   └── CorpusError       a training corpus is not what its reader expects
    ├── AudioError            one recording cannot be analysed: a `failed` row  exit 3
    │   └── UnreadableError   the file system does not give it; it may be sound
    └── AccountingError       the counts of a run do not add up: a bug          exit 1

A message says what is wrong, where, and what to do about it. What a program needs is
in attributes: `path` (the file or folder concerned), `option` (the option or key).
"""

import os
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the `ser` process tells its caller."""

    DONE = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    THRESHOLD = 4
    INTERRUPTED = 130
    PIPE = 141


class FailureKind(StrEnum):
    """Why a recording failed, in one word; the column `error_kind` of the results."""

    EMPTY = "empty"
    NOT_AUDIO = "not_audio"
    DAMAGED = "damaged"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"
    CRASHED = "crashed"
    KILLED = "killed"
    DEADLINE = "deadline"
    MEMORY = "memory"
    UNEXPECTED = "unexpected"


class SerError(Exception):
    """The root of all errors that this package raises on purpose.

    Attributes:
        path: the file or folder concerned, if there is one.
        option: the option of the command line or the configuration key concerned.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        option: str | None = None,
    ) -> None:
        super().__init__(message)
        self.path = None if path is None else os.fspath(path)
        self.option = option


class UsageError(SerError, ValueError):
    """An argument or an option is wrong, or its target cannot be used."""


class ConfigError(UsageError):
    """A configuration key is unknown, or its value is out of range."""


class BundleError(UsageError):
    """A bundle is missing, damaged, or does not fit this version."""


class ResultsError(UsageError):
    """A results directory is locked, of another model, or cannot be read or written."""


class CorpusError(UsageError):
    """A training corpus is not what its reader expects."""


class AudioError(SerError, OSError):
    """One recording cannot be analysed.

    Attributes:
        kind: why, in one word.
        detail: a library's own words, which may name files; None where there are none.
            The message itself never names a file.
    """

    def __init__(
        self,
        message: str,
        kind: FailureKind = FailureKind.DAMAGED,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.kind, self.detail = message, kind, detail

    def __str__(self) -> str:
        return (
            self.message if self.detail is None else f"{self.message} ({self.detail})"
        )


class UnreadableError(AudioError):
    """The file system does not give a recording; its content may be sound."""

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(message, FailureKind.UNREADABLE, detail)


class AccountingError(SerError, RuntimeError):
    """The counts of a run do not add up."""

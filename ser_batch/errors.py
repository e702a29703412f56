"""The exception tree, the kinds of failure, and the exit codes.

    SerError                  every error that this package raises deliberately
    ├── UsageError            an argument or an option is wrong                 exit 2
    │   ├── ConfigError       a configuration key or value is wrong
    │   ├── BundleError       a bundle is missing, damaged or incompatible
    │   ├── ResultsError      a results directory cannot be used as requested
    │   │   ├── DamagedPart       a live part cannot be read
    │   │   └── ResultsChanged    a run replaced what was being read: open it again
    │   └── CorpusError       a training corpus is not what its reader expects
    ├── AudioError            one recording cannot be analysed: a `failed` row  exit 3
    │   └── UnreadableError   the file system fails to read it; it may be intact
    ├── ClusterError          the nodes of a cluster are gone                   exit 5
    └── AccountingError       the counts of a run do not add up: a bug          exit 1

A message states what is wrong, where, and how to fix it. Programs can read the
attributes `path` (the file or folder concerned) and `option` (the option or key).
"""

import os
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit codes of the `ser` process."""

    DONE = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    THRESHOLD = 4
    CLUSTER = 5
    INTERRUPTED = 130
    PIPE = 141


class FailureKind(StrEnum):
    """One-word reason for a failure; the column `error_kind` of the results."""

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
    """Base class of all errors that this package raises deliberately.

    Attributes:
        path: the file or folder concerned, if any.
        option: the command-line option or configuration key concerned, if any.
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


class DeviceMemoryError(UsageError):
    """The device that scores is out of memory."""


class ConfigError(UsageError):
    """A configuration key is unknown, or its value is out of range."""


class BundleError(UsageError):
    """A bundle is missing, damaged, or incompatible with this version."""


class ResultsError(UsageError):
    """A results directory is locked, of another model, unreadable or unwritable."""


class CorpusError(UsageError):
    """A training corpus is not what its reader expects."""


class AudioError(SerError, OSError):
    """One recording cannot be analysed.

    Attributes:
        kind: the reason, in one word.
        detail: a library's own message, if any, which may name files. The message of
            the exception itself never names a file.
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
    """The file system fails to read a recording; its content may be intact."""

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(message, FailureKind.UNREADABLE, detail)


class ClusterError(SerError):
    """The nodes of a cluster are gone; what is finished has been committed."""


class AccountingError(SerError, RuntimeError):
    """The counts of a run do not add up."""

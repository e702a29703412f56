"""The exception tree and the exit codes.

    SerError                  every error that this package raises on purpose
    ├── UsageError            an argument or an option cannot be meant                  exit 2
    │   ├── ConfigError       a configuration value or key is wrong
    │   ├── BundleError       a model on disk is missing, damaged or does not fit
    │   ├── ResultsError      the results directory cannot be used as asked
    │   └── CorpusError       a training corpus is not what its reader expects
    ├── AudioError            one recording cannot be read: it becomes a `failed` row   exit 3
    │   └── UnreadableError   the file system does not give it: its content may be sound
    └── AccountingError       the counts of a run do not add up: a bug of ours          exit 1

A message says what is wrong, where, and what to do about it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the `ser` process tells its caller."""

    DONE = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    THRESHOLD = 4
    INTERRUPTED = 130
    PIPE = 141


class SerError(Exception):
    """The root of all errors that this package raises on purpose."""


class UsageError(SerError, ValueError):
    """An argument or an option cannot be meant, or its target cannot be used."""


class ConfigError(UsageError):
    """A configuration key is unknown, or its value is out of range."""


class BundleError(UsageError):
    """A bundle is missing, damaged, or does not fit this version."""


class ResultsError(UsageError):
    """A results directory is locked, made otherwise, or cannot be read or written."""


class CorpusError(UsageError):
    """A training corpus is not what its reader expects."""


class AudioError(SerError, OSError):
    """One recording cannot be read as audio."""


class UnreadableError(AudioError):
    """The file system does not give a recording; its content may be sound."""


class AccountingError(SerError, RuntimeError):
    """The counts of a run do not add up."""

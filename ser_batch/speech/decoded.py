"""What decoding is asked for, and what it gives: plain values that pickle."""

from dataclasses import dataclass, field

from ser_batch.config.options import Config
from ser_batch.errors import FailureKind
from ser_batch.intervals import Interval
from ser_batch.sources.source import Recording, Source, Stamp
from ser_batch.speech.waveforms import Waveforms


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all recordings of a run."""

    config: Config
    sample_rate: int
    """Of the model, in Hz."""
    source: Source
    waveforms: Waveforms


@dataclass(frozen=True, slots=True)
class Task:
    """A recording to decode."""

    recording: Recording
    stamp: Stamp | None
    """What it was found with; None where it had vanished."""
    known_hash: str | None = None
    """The content hash of the rows that the results hold of it."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One speaker's side of a recording."""

    role: str | None
    speech: list[Interval]
    segments: list[Interval] = field(default_factory=list)
    is_scored: bool = False
    """Whether its waveform waits to be scored."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording with its speech and its segments, none of them scored yet."""

    recording: Recording
    stamp: Stamp
    content_hash: str
    codec: str
    sample_rate: int
    file_channels: int
    duration_s: float
    channels: list[Channel]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording that cannot be analysed, and why; see `AudioError` for the words."""

    recording: Recording
    stamp: Stamp | None
    """None where the next run is to try again."""
    content_hash: str | None
    kind: FailureKind
    error: str
    detail: str | None = None


def unexpected(recording: Recording, stage: str, error: object) -> Failed:
    """Return the failure of a recording on which a stage broke; the next run tries again."""
    reason = f"{stage} failed in an unexpected way, please report it; the next run tries again"
    return Failed(recording, None, None, FailureKind.UNEXPECTED, reason, repr(error))


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A recording whose content is what it was, whatever its date says."""

    recording: Recording
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class Growing:
    """A recording that is still being written: the next run takes it."""

    recording: Recording


Outcome = Decoded | Failed | Unchanged | Growing

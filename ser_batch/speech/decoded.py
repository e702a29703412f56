"""The input and the output of decoding, as plain values that pickle."""

from dataclasses import dataclass, field

from ser_batch.config.options import Config
from ser_batch.errors import FailureKind
from ser_batch.intervals import Interval
from ser_batch.sources.source import Recording, Source, Stamp
from ser_batch.speech.waveforms import Waveforms


@dataclass(frozen=True, slots=True)
class Job:
    """What all recordings of a run have in common."""

    config: Config
    sample_rate: int
    """The sample rate of the model, in Hz."""
    source: Source
    waveforms: Waveforms


@dataclass(frozen=True, slots=True)
class Task:
    """A recording to decode."""

    recording: Recording
    stamp: Stamp | None
    """Its stamp when it was found; None if it had vanished."""
    known_hash: str | None = None
    """The content hash of its rows in the results, if any."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One speaker's side of a recording: a channel, or one of the voices in it."""

    channel: int
    role: str | None
    speech: list[Interval]
    segments: list[Interval] = field(default_factory=list)
    is_scored: bool = False
    """Whether the segments are to be scored."""
    number: int | None = None
    """The number of the voice in its channel, by first appearance.

    None if the voices of the channel were not told apart.
    """
    overlap: list[Interval] = field(default_factory=list)
    """The speech during which another voice of the channel speaks too."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording with its speech regions and segments, before scoring."""

    recording: Recording
    stamp: Stamp
    content_hash: str
    codec: str
    sample_rate: int
    file_channels: int
    duration_s: float
    speakers: list[Speaker]
    """Ordered by channel and number."""
    notes: list[str]
    level_curves: list[bytes]
    """The level of each channel over the recording; see `level_curve`."""
    diarization_confidence: float | None = None
    """The expected share of speech that was given to the right voice.

    None if the voices of its channel were not told apart, or there is only one.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording that cannot be analysed, and why; see `AudioError`."""

    recording: Recording
    stamp: Stamp | None
    """None if the next run is to try again."""
    content_hash: str | None
    kind: FailureKind
    error: str
    detail: str | None = None


def past_deadline(task: Task, deadline_s: float) -> Failed:
    """Return the failure of a recording that took too long."""
    error = (
        f"decoding took longer than {deadline_s:g} s and was stopped: if it needs more "
        "time, raise run.deadline_s and use --retry-failed"
    )
    kind = FailureKind.DEADLINE
    return Failed(task.recording, task.stamp, None, kind, error)


def unexpected(recording: Recording, stage: str, error: object) -> Failed:
    """Return the failure of a recording on which a stage failed unexpectedly.

    The next run tries it again.
    """
    reason = f"{stage} failed unexpectedly; please report it. The next run tries again"
    return Failed(recording, None, None, FailureKind.UNEXPECTED, reason, repr(error))


def out_of_memory(task: Task) -> Failed:
    """Return the failure of a recording for which there was not enough memory."""
    reason = (
        "not enough memory to decode it: use fewer --workers, and retry with "
        "--retry-failed"
    )
    return Failed(task.recording, task.stamp, None, FailureKind.MEMORY, reason)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A recording whose content is unchanged, whatever its modification time."""

    recording: Recording
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class Growing:
    """A recording that is still being written; the next run analyses it."""

    recording: Recording


Outcome = Decoded | Failed | Unchanged | Growing

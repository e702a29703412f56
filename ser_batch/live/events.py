"""What is told of a call while it goes on: plain values, and their JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from ser_batch.emotion.analysis import ScoredSegment
from ser_batch.emotion.answers import DISTRESS

DIGITS = 6


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A server has taken a call."""

    protocol: str
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class SpeechHeard:
    """A speech region, as in the table `speech`."""

    channel: int
    role: str | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SegmentScored:
    """A segment with its scores, as in the table `segments`."""

    channel: int
    role: str | None
    start_s: float
    end_s: float
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    distress: float | None
    """The probability of anger, fear or disgust; None if the model has none of them."""
    level_dbfs: float
    values: dict[str, float]
    """What else the model estimates, such as arousal."""
    is_final: bool
    """Whether it is a row; if not, it is of speech that goes on, and is provisional."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio that was left out; what follows is told as if it came at once."""

    channel: int
    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The end of the call; there are no more events."""

    duration_s: float
    segments: int
    notes: tuple[str, ...]


Event = CallBegun | SpeechHeard | SegmentScored | Gap | CallEnded

_NAMES = {
    CallBegun: "begun",
    SpeechHeard: "speech",
    SegmentScored: "segment",
    Gap: "gap",
    CallEnded: "ended",
}


def segment_event(segment: ScoredSegment, is_final: bool) -> SegmentScored:
    """Return the event for a scored segment."""
    known = [own for own in DISTRESS if own in segment.probabilities]
    distress = sum(segment.probabilities[own] for own in known) if known else None
    return SegmentScored(
        segment.channel,
        segment.role,
        segment.interval.start_s,
        segment.interval.end_s,
        segment.label,
        segment.confidence,
        dict(segment.probabilities),
        distress,
        segment.level_dbfs,
        dict(segment.values),
        is_final,
    )


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as plain values: its name under `event`, and its fields."""
    fields = {name: _rounded(value) for name, value in asdict(event).items()}
    return {"event": _NAMES[type(event)], **fields}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(own) for name, own in value.items()}
    return list(value) if isinstance(value, tuple) else value

"""The keys of a report in JSON, and their JSON schema.

Within a major version, keys are only added, never renamed. A value that was not
measured is null, never 0.
"""

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta


class FigureRecord(TypedDict):
    """A measure, or its change, and the 95 % interval."""

    value: float | None
    low: float | None
    high: float | None
    recordings: Annotated[int, Meta(description="recordings behind the figure")]


class MeasureRecord(TypedDict):
    """What a measure is."""

    unit: str
    meaning: str


class RangeRecord(TypedDict):
    """A range of values."""

    low: float
    high: float


class CorrectedRecord(TypedDict):
    """A share, corrected for the model's errors, and its 95 % interval."""

    value: float
    low: float
    high: float


class CheckedRecord(TypedDict):
    """What labellers heard in a sample of these calls."""

    folder: str
    segments: Annotated[int, Meta(description="labelled segments, drawn at random")]
    recordings: Annotated[int, Meta(description="recordings that they come from")]
    unmatched: Annotated[
        int, Meta(description="labelled segments that the results no longer have")
    ]
    uar: float
    uar_95: list[float] | None
    shares: Annotated[
        dict[str, CorrectedRecord], Meta(description="what some shares truly are")
    ]


class ComparisonRecord(TypedDict):
    """The same measures of another period or directory."""

    against: Annotated[str, Meta(description="the period or the directory")]
    recordings: int
    then: dict[str, FigureRecord]
    change: Annotated[dict[str, FigureRecord], Meta(description="now minus then")]
    clear: Annotated[
        list[str], Meta(description="measures whose change is beyond chance")
    ]


class QuarterRecord(TypedDict):
    """The emotions of one quarter of the calls."""

    shares: Annotated[
        dict[str, float],
        Meta(description="mean probability of each label, weighted by scored time"),
    ]
    distress: float | None


class GroupRecord(TypedDict):
    """The measures of one group of recordings."""

    group: Annotated[Any, Meta(description="a value of `by`; null where it is unknown")]
    figures: dict[str, FigureRecord]
    standing_out: Annotated[
        list[str],
        Meta(description="measures that differ from all other groups beyond chance"),
    ]


class MomentRecord(TypedDict):
    """A time to listen to, and why."""

    kind: Annotated[
        str, Meta(description="`episode`, `segment`, `escalation` or `silence`")
    ]
    start_s: float
    end_s: float
    channel: Annotated[int | None, Meta(description="null for a silence")]
    speaker: Annotated[
        int | None, Meta(description="the voice, where a channel holds several")
    ]
    role: str | None
    label: str | None
    distress: float | None
    reason: str


class CallRecord(TypedDict):
    """A call that stands out, with its moments."""

    recording_id: str
    path: str
    started_at: Annotated[str | None, Meta(description="ISO 8601")]
    duration_s: float
    concern: Annotated[
        float | None, Meta(description="what calls are ranked by; see Measures")
    ]
    peak_distress: float | None
    peak_at_s: float | None
    escalated: bool | None
    recovered: bool | None
    episodes: int
    moments: list[MomentRecord]


class FailureRecord(TypedDict):
    """A recording that failed."""

    path: str
    error: str


class ReportRecord(TypedDict):
    """A report."""

    directory: str
    model_id: str
    labels: list[str]
    role: Annotated[
        str,
        Meta(description="whose emotions: `customer`, `agent`, or `everyone`"),
    ]
    timezone: Annotated[str, Meta(description="the time zone of days and hours")]
    first: Annotated[str | None, Meta(description="start of the first call, ISO 8601")]
    last: Annotated[str | None, Meta(description="start of the last call, ISO 8601")]
    notes: list[str]
    measures: Annotated[
        dict[str, MeasureRecord], Meta(description="the keys of all figures")
    ]
    total: dict[str, FigureRecord]
    true_shares: Annotated[
        dict[str, RangeRecord],
        Meta(description="true shares compatible with the model's errors"),
    ]
    checked: Annotated[
        CheckedRecord | None, Meta(description="null if nobody has checked them")
    ]
    comparison: ComparisonRecord | None
    distributions: Annotated[
        dict[str, dict[str, float]],
        Meta(
            description="quantiles (`p5` to `p95`) of each measure over at most 20,000 "
            "recordings"
        ),
    ]
    quarters: Annotated[
        list[QuarterRecord | None],
        Meta(description="four; null where nothing was scored"),
    ]
    days: Annotated[
        dict[str, dict[str, FigureRecord]],
        Meta(description="by day, or by week if there are more than 200 days"),
    ]
    hours: Annotated[
        dict[str, dict[str, FigureRecord]], Meta(description="by hour of the day")
    ]
    cluster: Annotated[
        str | None, Meta(description="the column whose values are units of intervals")
    ]
    by: str | None
    groups: list[GroupRecord]
    top: Annotated[list[CallRecord], Meta(description="in descending order")]
    failures: Annotated[list[FailureRecord], Meta(description="at most 1,000")]


def report_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of `ser report --format json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(ReportRecord),
    }

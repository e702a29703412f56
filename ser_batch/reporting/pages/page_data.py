"""The data of the HTML report: all calls at once, and the details of each."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ser_batch.emotion.answers import DISTRESS
from ser_batch.reporting.figures.calls import (
    MIN_QUARTER_S,
    STRONGEST_FIRST,
)
from ser_batch.reporting.figures.database import quoted, rows_of
from ser_batch.reporting.figures.estimates import MIN_UNITS, TAILS, log_quantiles
from ser_batch.reporting.figures.measures import measures_of, share_names
from ser_batch.reporting.figures.notes import NOT_SCORED
from ser_batch.reporting.figures.overview import Opened, Report
from ser_batch.reporting.figures.timeline_reading import all_timelines
from ser_batch.reporting.figures.timelines import Scored, Timeline, change_of_distress
from ser_batch.reporting.pages.one_call import talk_over_text
from ser_batch.reporting.pages.palette import CHANNELS, colours
from ser_batch.reporting.pages.recordings import MOMENTS, NOTES, Recordings
from ser_batch.reporting.pages.strips import highest_distress
from ser_batch.reporting.pages.wording import label_of
from ser_batch.text import counted

CHUNK = 50
"""Number of calls whose details are packed together."""
SPARK_PARTS = 24
DRAWN_LEVELS = 300
"""More than the page has pixels for."""
SHOWN = (
    "distress_share", "valence", "arousal", "abstained_share", "episode_share",
    "escalated_share", "recovered_share", "silence_share", "hold_share",
    "overtalk_share", "non_talk_share", "agent_talk_share", "response_latency_s",
    "agent_latency_s", "agent_slow_response_share", "turns_per_minute",
    "interruptions_per_minute", "agent_interruptions_per_minute",
    "customer_interruptions_per_minute", "attempts_per_minute",
    "backchannels_per_minute", "longest_silence_s", "mean_duration_s", "failed_share",
    "one_sided_share",
)  # fmt: skip
"""The measures that the report can plot, in addition to the share of each label."""
COLUMNS = (
    "recording_id", "path", "input_root", "started_at", "duration_s", "status", "error",
    "notes", "folder", "concern", "peak_distress", "peak_at_s", "escalated",
    "recovered", "episodes", "angry_episodes", "not_scored", "q1_distress_s",
    "q1_scored_s", "q4_distress_s", "q4_scored_s",
)  # fmt: skip


def packed(values: Any) -> str:
    """Return values as JSON, compressed, in base64: without any markup."""
    text = json.dumps(values, separators=(",", ":"), default=str)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def details(
    opened: Opened, recordings: Recordings, known: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield the details of all calls in packed chunks.

    What the list of calls needs of them is entered into `known`, by recording.
    """
    role = opened.report.role if opened.report.role != "everyone" else "customer"
    waiting: list[dict[str, Any]] = []
    connection, results = opened.connection, opened.results
    for timeline in all_timelines(connection, results, role, with_levels=True):
        known[timeline.call["recording_id"]] = {
            "place": len(known),
            "spark": _spark(timeline),
            "audio": recordings.link(timeline),
        }
        waiting.append(_details(timeline))
        if len(waiting) == CHUNK:
            yield packed(waiting)
            waiting = []
    if waiting:
        yield packed(waiting)


def report_data(
    opened: Opened, recordings: Recordings, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the data of all calls.

    For each measure they have both sums, so that any selection can be added up.
    """
    report = opened.report
    every = measures_of(report.labels)
    names = [*share_names(report.labels).values(), *SHOWN]
    names = [name for name in names if report.total[name].value is not None]
    own = opened.metadata.columns
    return {
        "labels": report.labels,
        "shares": share_names(report.labels),
        "distress": DISTRESS,
        "line": _line(report),
        "colours": colours(report.labels),
        "channels": CHANNELS,
        "measures": [
            {
                "name": n,
                "label": label_of(every[n]),
                "kind": every[n].kind,
                "meaning": every[n].meaning,
                "scale": every[n].scale,
            }
            for n in names
        ],
        "intervals": {
            "cluster": report.cluster,
            "minUnits": MIN_UNITS,
            "tails": TAILS,
            "logT": log_quantiles(),
        },
        "today": report.made_on.isoformat(),
        "comparison": _comparison(report),
        "audioNote": NOTES[recordings.copy],
        "columns": ["folder", *own],
        "by": report.by if report.by in ("folder", *own) else None,
        "calls": [_call(row, own, known) for row in _rows(opened, names)],
        "chunk": CHUNK,
    }


def _line(report: Report) -> str | None:
    """Return what the line over a call shows, 0 to 1; None if the model has neither."""
    if set(DISTRESS) & set(report.labels):
        return "distress"
    return None if report.labels else "arousal"


def _rows(opened: Opened, names: list[str]) -> list[dict[str, Any]]:
    report, own = opened.report, opened.metadata.columns
    every = measures_of(report.labels)
    pairs = ", ".join(
        f"round(({every[n].over})::DOUBLE, 4), round(({every[n].by})::DOUBLE, 4)"
        for n in names
    )
    # Only of calls with enough scored speech, as in `calls.sql`.
    long_enough = f"scored_s >= {4 * MIN_QUARTER_S}"
    quarters = ", ".join(
        f"CASE WHEN {long_enough} THEN round({column}, 3) END"
        for q in range(1, 5)
        for column in (f"q{q}_distress_s", f"q{q}_scored_s")
    )
    chosen = ", ".join([*COLUMNS, *map(quoted, own)])
    unit = "0"
    if report.cluster is not None:
        column = f"coalesce({quoted(report.cluster)}::VARCHAR, recording_id)"
        unit = f"dense_rank() OVER (ORDER BY {column})"
    # The prefix avoids a clash with metadata columns.
    query = f"""
        SELECT
            {chosen},
            {unit} AS "ser:unit",
            [{pairs}]::DOUBLE[] AS "ser:sums",
            [{quarters}] AS "ser:quarters"
        FROM calls
        ORDER BY {STRONGEST_FIRST}
    """
    return rows_of(opened.connection, query)


def _call(
    row: dict[str, Any], own: list[str], known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    began = row["started_at"]
    return {
        "id": row["recording_id"],
        **known[row["recording_id"]],
        "path": row["path"],
        "at": began.isoformat(timespec="minutes") if began else "",
        "s": row["duration_s"],
        "notes": row["notes"],
        "error": row["error"] if row["status"] != "done" else None,
        "concern": row["concern"],
        "peak": row["peak_distress"],
        "peakAt": row["peak_at_s"],
        "grew": row["escalated"],
        "why": _why(row),
        "meta": [row["folder"], *(_plain(row[name]) for name in own)],
        "sums": [_short(value) for value in row["ser:sums"]],
        "unit": row["ser:unit"],
        "quarters": [_short(value) for value in row["ser:quarters"]],
    }


def _comparison(report: Report) -> dict[str, Any] | None:
    comparison = report.comparison
    if comparison is None:
        return None
    change = {
        name: {"value": own.value}
        | ({} if own.low is None else {"low": own.low, "high": own.high})
        for name, own in comparison.change.items()
    }
    return {"against": comparison.against, "change": change}


def _why(row: dict[str, Any]) -> str:
    said = []
    if row["episodes"]:
        of_anger = f", {row['angry_episodes']} of anger" * bool(row["angry_episodes"])
        said.append(f"{counted(row['episodes'], 'episode')} of distress{of_anger}")
    if row["escalated"] or row["recovered"]:
        said.append(change_of_distress(row))
    if row["not_scored"]:
        said.append(NOT_SCORED[row["not_scored"]])
    return "; ".join(said)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, str)):
        return value
    return str(value)


def _short(value: float | None) -> float | int | None:
    """Return a whole number as such: it takes fewer bytes."""
    return int(value) if value is not None and value == int(value) else value


def _spark(timeline: Timeline) -> str:
    """Return the highest distress in each part of a call: a digit, or a dot for none.

    Empty if nothing was scored.
    """
    highest = highest_distress(timeline, SPARK_PARTS)
    if not any(level is not None for level in highest):
        return ""
    return "".join(
        "." if level is None else str(min(9, int(level * 10))) for level in highest
    )


def _details(timeline: Timeline) -> dict[str, Any]:
    """Return a call's details: times in centiseconds, probabilities in thousandths."""

    def cs(seconds: float) -> int:
        return round(seconds * 100)

    return {
        "id": timeline.call["recording_id"],
        "levels": [_levels(curve) for curve in timeline.level_curves],
        "speech": [
            [ch, [cs(t) for region in regions for t in region]]
            for ch, regions in timeline.speech.items()
        ],
        "roles": {channel: timeline.who(channel) for channel in timeline.speech},
        "segments": [
            [
                cs(s.start_s),
                cs(s.end_s),
                s.label,
                [round(p * 1000) for p in s.probabilities],
                None if (level := _level(s)) is None else round(level * 1000),
            ]
            for s in timeline.segments
        ],
        "episodes": [
            [cs(e.start_s), cs(e.end_s)]
            for e in timeline.episodes
            if e.emotion == "distress"
        ],
        "cuts": [
            [cs(over.start_s), talk_over_text(timeline, over)]
            for over in timeline.talk_overs
        ],
        "moments": [
            [cs(m.start_s), timeline.who(m.channel), m.reason]
            for m in timeline.moments(MOMENTS)
        ],
    }


def _level(segment: Scored) -> float | None:
    """Return what the line over a call shows; see `_line`."""
    if segment.probabilities:
        return segment.distress
    return segment.dimensions.get("arousal")


def _levels(curve: bytes) -> str:
    """Return the highest levels of a channel in base64, with fewer parts."""
    levels = np.frombuffer(curve, np.uint8)
    if len(levels) > DRAWN_LEVELS:
        starts = np.arange(DRAWN_LEVELS) * len(levels) // DRAWN_LEVELS
        levels = np.maximum.reduceat(levels, starts)
    return base64.b64encode(levels.tobytes()).decode()

"""Machine-readable reports: everything as JSON, or a row for each recording as CSV.

`json_report` defines the keys.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import IO, Any

import duckdb

from ser_batch.metadata.gathering import Metadata
from ser_batch.reporting.figures.checked import Checked
from ser_batch.reporting.figures.comparison import Comparison
from ser_batch.reporting.figures.database import quoted
from ser_batch.reporting.figures.groups import QUANTILES, Figure, Figures
from ser_batch.reporting.figures.measures import single_measures
from ser_batch.reporting.figures.overview import Opened, Report
from ser_batch.reporting.figures.sides import channel_of, speaker_of
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.reporting.pages.json_report import (
    CallRecord,
    CheckedRecord,
    ComparisonRecord,
    FigureRecord,
    ReportRecord,
)
from ser_batch.text import plain_text

ROWS_AT_ONCE = 20_000
FACTS = (
    "recording_id",
    "path",
    "input_root",
    "started_at",
    "time_from",
    "channels",
    "status",
    "error",
    "notes",
    "not_scored",
)
EVENTS = (
    "escalated", "recovered", "one_sided", "concern", "peak_distress", "peak_at_s",
    "episodes", "angry_episodes", "fearful_episodes",
    *(f"{who}{what}" for who in ("", "agent_", "customer_") for what in (
        "turns", "backchannels", "interruptions", "interruption_s", "attempts",
        "attempt_s", "responses",
    )),
    "holds", "non_talks", "conversation_s", "agent_talk_s", "customer_talk_s",
)  # fmt: skip


def call_rows(
    connection: duckdb.DuckDBPyConnection,
    labels: Sequence[str],
    metadata: Metadata,
    order: str = "path",
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of all recordings, in batches.

    A row has facts, metadata, and the value of each measure for that recording.
    """
    values = [
        f"{m.of_one} AS {quoted(m.name)}" for m in single_measures(labels).values()
    ]
    own = [quoted(name) for name in metadata.columns]
    chosen = ", ".join([*FACTS, *EVENTS, *own, "talk_s", "scored_s", *values])
    for batch in connection.sql(
        f"SELECT {chosen} FROM calls ORDER BY {order}"
    ).to_arrow_reader(ROWS_AT_ONCE):
        yield batch.to_pylist()


def write_csv(opened: Opened, sink: IO[str]) -> None:
    """Write a row for each recording, including failed ones."""
    writer = csv.writer(sink, lineterminator="\n")
    header = False
    for rows in call_rows(opened.connection, opened.report.labels, opened.metadata):
        for row in rows:
            if not header:
                writer.writerow(map(plain_text, row))
                header = True
            writer.writerow(map(plain_text, row.values()))


def to_json(report: Report) -> str:
    """Return the whole report as JSON."""
    return json.dumps(
        to_dict(report), indent=2, ensure_ascii=False, default=str, allow_nan=False
    )


def to_dict(report: Report) -> ReportRecord:
    """Return the whole report as plain values."""
    return {
        "directory": report.directory,
        "model_id": report.model_id,
        "labels": list(report.labels),
        "role": report.role,
        "timezone": report.timezone,
        "first": report.first.isoformat() if report.first else None,
        "last": report.last.isoformat() if report.last else None,
        "notes": report.notes,
        "measures": {
            m.name: {"unit": m.unit, "meaning": m.meaning}
            for m in report.measures.values()
        },
        "total": _figures(report.total),
        "true_shares": {
            name: {"low": low, "high": high}
            for name, (low, high) in report.true_shares.items()
        },
        "checked": _checked(report.checked) if report.checked else None,
        "comparison": _comparison(report.comparison) if report.comparison else None,
        "distributions": {
            name: {
                f"p{q * 100:.0f}": value
                for q, value in zip(QUANTILES, values, strict=True)
            }
            for name, values in report.distributions.items()
        },
        "quarters": [
            None if q is None else {"shares": q.shares, "distress": q.distress}
            for q in report.quarters
        ],
        "days": {key: _figures(group) for key, group in report.days.items()},
        "hours": {str(key): _figures(group) for key, group in report.hours.items()},
        "cluster": report.cluster,
        "by": report.by,
        "groups": [
            {
                "group": key,
                "figures": _figures(group),
                "standing_out": sorted(n for k, n in report.standing_out if k == key),
            }
            for key, group in report.groups.items()
        ],
        "top": [call_dict(timeline) for timeline in report.top],
        "failures": [
            {"path": failed["path"], "error": failed["error"]}
            for failed in report.failures
        ],
    }


def _checked(checked: Checked) -> CheckedRecord:
    return {
        "folder": checked.folder,
        "segments": checked.segments,
        "recordings": checked.recordings,
        "unmatched": checked.unmatched,
        "uar": checked.uar,
        "uar_95": checked.uar_95,
        "shares": {
            name: {"value": value, "low": low, "high": high}
            for name, (value, low, high) in checked.shares.items()
        },
    }


def _comparison(comparison: Comparison) -> ComparisonRecord:
    return {
        "against": comparison.against,
        "recordings": comparison.recordings,
        "then": {name: _figure(figure) for name, figure in comparison.then.items()},
        "change": {name: _figure(figure) for name, figure in comparison.change.items()},
        "clear": sorted(comparison.clear),
    }


def _figures(group: Figures) -> dict[str, FigureRecord]:
    return {name: _figure(figure) for name, figure in group.values.items()}


def _figure(figure: Figure) -> FigureRecord:
    return {
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "recordings": figure.recordings,
    }


def _side(side: int | None) -> dict[str, int | None]:
    """Return the channel of a side, and the number of its voice, as plain values."""
    if side is None:
        return {"channel": None, "speaker": None}
    return {"channel": channel_of(side), "speaker": speaker_of(side)}


def timeline_json(timeline: Timeline) -> str:
    """Return one call with everything known about it, as JSON."""
    values = {
        **timeline.call,
        "speech": [
            {
                **_side(channel),
                "role": timeline.roles[channel],
                "start_s": start_s,
                "end_s": end_s,
            }
            for channel, regions in timeline.speech.items()
            for start_s, end_s in regions
        ],
        "segments": [asdict(s) | _side(s.channel) for s in timeline.segments],
        "episodes": [asdict(e) | _side(e.channel) for e in timeline.episodes],
        "talk_overs": [
            asdict(t)
            | {"by": channel_of(t.by), "by_speaker": speaker_of(t.by)}
            | {"over": channel_of(t.over), "over_speaker": speaker_of(t.over)}
            for t in timeline.talk_overs
        ],
        "moments": [asdict(m) | _side(m.channel) for m in timeline.moments(10)],
    }
    return json.dumps(
        values, indent=2, ensure_ascii=False, default=str, allow_nan=False
    )


def call_dict(timeline: Timeline) -> CallRecord:
    """Return a call to listen to, with its moments, as plain values."""
    call = timeline.call
    return {
        "recording_id": call["recording_id"],
        "path": call["path"],
        "started_at": call["started_at"] and call["started_at"].isoformat(),
        "duration_s": call["duration_s"],
        "concern": call["concern"],
        "peak_distress": call["peak_distress"],
        "peak_at_s": call["peak_at_s"],
        "escalated": call["escalated"],
        "recovered": call["recovered"],
        "episodes": call["episodes"],
        "moments": [
            {
                "kind": m.kind,
                "start_s": m.start_s,
                "end_s": m.end_s,
                "channel": None if m.channel is None else channel_of(m.channel),
                "speaker": None if m.channel is None else speaker_of(m.channel),
                "role": m.role,
                "label": m.label,
                "distress": m.distress,
                "reason": m.reason,
            }
            for m in timeline.moments()
        ],
    }

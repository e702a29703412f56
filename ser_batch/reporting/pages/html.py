"""HTML reports that work offline: a single file, or a folder that loads data on demand.

Everything from the results is passed to the report as JSON and shown as text, never as
markup. Only the report's own scripts may run: a content security policy lists their
hashes.
"""

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import plotly.offline

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.calls import (
    DISTRESS,
    MIN_QUARTER_S,
    STRONGEST_FIRST,
)
from ser_batch.reporting.figures.database import quoted, rows_of
from ser_batch.reporting.figures.estimates import MIN_UNITS, TAILS, log_quantiles
from ser_batch.reporting.figures.measures import measures_of, share_names
from ser_batch.reporting.figures.notes import NOT_SCORED
from ser_batch.reporting.figures.overview import Opened, Report
from ser_batch.reporting.figures.timeline_reading import all_timelines
from ser_batch.reporting.figures.timelines import Timeline, change_of_distress
from ser_batch.reporting.pages.one_call import talk_over_text
from ser_batch.reporting.pages.palette import CHANNELS, colours
from ser_batch.reporting.pages.wording import changes, label_of
from ser_batch.storage.local import LocalStorage
from ser_batch.text import counted
from ser_batch.version import __version__

MAX_CALLS = 2000
"""Most calls in a single file; a folder has no limit."""
MAX_BYTES = 30_000_000
INSTEAD = "write to a folder with --html DIR/, or choose a period with --since"
CHUNK = 50
"""Number of calls whose details are packed together."""
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


def write_html(opened: Opened, target: str) -> Path:
    """Write the HTML report to a file, or to `DIR/index.html` with its data files.

    `target` is a folder if it ends with `/` or is an existing folder.

    Returns:
        The path of the HTML file.

    Raises:
        UsageError: the report cannot be written, or a single file would be too large.
    """
    folder = target.endswith(os.sep) or os.path.isdir(target)
    count = opened.connection.execute("SELECT count(*) FROM calls").fetchall()[0][0]
    if not folder and count > MAX_CALLS:
        raise UsageError(
            f"--html {target}: {count:,} calls exceed the limit of a single file "
            f"({MAX_CALLS:,}); {INSTEAD}"
        )
    page = Path(target) / "index.html" if folder else Path(target)
    if not target or (os.path.lexists(page) and not os.path.isfile(page)):
        raise UsageError(
            f"--html {target!r}: is not a file that can be replaced; give a file, or a "
            "folder as DIR/"
        )
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        storage = LocalStorage(page.parent)
        where: dict[str, int] = {}
        chunks = _chunks(opened, where)
        if folder:
            for i, chunk in enumerate(chunks):
                script = f'serChunk({i}, "{chunk}");\n'
                storage.put({f"calls/{i}.js": script.encode()})
            data = _data(opened, page.parent, where)
            storage.put({"data.js": f"serData({_json(data)});\n".encode()})
            storage.put({page.name: _page(opened.report, None, [])})
            return page
        packed = list(chunks)
        made = _page(opened.report, _data(opened, page.parent, where), packed)
        if len(made) > MAX_BYTES:
            raise UsageError(
                f"--html {target}: would be {len(made) / 1e6:.0f} MB; {INSTEAD}"
            )
        storage.put({page.name: made})
    except OSError as error:
        raise UsageError(
            f"--html {target}: cannot be written: {error.strerror or error}; free some "
            "space or choose another location"
        ) from error
    return page


def _page(report: Report, data: dict[str, Any] | None, chunks: Iterable[str]) -> bytes:
    """Render the HTML file; without data, it loads `data.js`."""
    source = files("ser_batch.reporting.pages") / "page"
    own = [(source / name).read_text("utf-8") for name in ("estimates.js", "page.js")]
    scripts = [plotly.offline.get_plotlyjs(), *own]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    ]
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string((source / "page.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        version=__version__,
        changes=changes(report),
        css=(source / "page.css").read_text("utf-8"),
        scripts=scripts,
        hashes=" ".join(hashes),
        data=None if data is None else _json(data),
        chunks=chunks,
    ).encode()


def _data(opened: Opened, folder: Path, where: dict[str, int]) -> dict[str, Any]:
    """Return the data of all calls.

    For each measure they have both sums, so that any selection can be added up.
    """
    report, connection = opened.report, opened.connection
    every = measures_of(report.labels)
    names = [*share_names(report.labels).values(), *SHOWN]
    names = [name for name in names if report.total[name].value is not None]
    pairs = ", ".join(
        f"round(({every[n].over})::DOUBLE, 8), round(({every[n].by})::DOUBLE, 8)"
        for n in names
    )
    # Only of calls with enough scored speech, as in `calls.sql`.
    long_enough = f"scored_s >= {4 * MIN_QUARTER_S}"
    quarters = ", ".join(
        f"CASE WHEN {long_enough} THEN round({column}, 3) END"
        for q in range(1, 5)
        for column in (f"q{q}_distress_s", f"q{q}_scored_s")
    )
    own = opened.metadata.columns
    chosen = ", ".join([*PAGE_COLUMNS, *map(quoted, own)])
    unit = "0"
    if report.cluster is not None:
        column = f"coalesce({quoted(report.cluster)}::VARCHAR, recording_id)"
        unit = f"dense_rank() OVER (ORDER BY {column})"
    # The prefix avoids a clash with metadata columns.
    query = f"""
        SELECT
            {chosen},
            {unit} AS "ser:unit",
            [{pairs or "0.0"}] AS "ser:sums",
            [{quarters}] AS "ser:quarters"
        FROM calls
        ORDER BY {STRONGEST_FIRST}
    """
    calls = []
    for row in rows_of(connection, query):
        audio = os.path.join(row["input_root"], row["path"])
        calls.append(
            {
                "id": row["recording_id"],
                "place": where[row["recording_id"]],
                "path": row["path"],
                "at": row["started_at"].isoformat(timespec="minutes")
                if row["started_at"]
                else "",
                "s": row["duration_s"],
                "notes": row["notes"],
                "error": row["error"] if row["status"] != "done" else None,
                "concern": row["concern"],
                "peak": row["peak_distress"],
                "peakAt": row["peak_at_s"],
                "why": _why(row),
                "audio": _link(audio, folder),
                "meta": [row["folder"], *(_text(row[name]) for name in own)],
                "sums": row["ser:sums"] if names else [],
                "unit": row["ser:unit"],
                "quarters": row["ser:quarters"],
            }
        )
    return {
        "labels": report.labels,
        "shares": share_names(report.labels),
        "distress": DISTRESS,
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
        "columns": ["folder", *own],
        "by": report.by if report.by in ("folder", *own) else None,
        "calls": calls,
        "chunk": CHUNK,
    }


PAGE_COLUMNS = (
    "recording_id", "path", "input_root", "started_at", "duration_s", "status", "error",
    "notes", "folder", "concern", "peak_distress", "peak_at_s", "escalated",
    "recovered", "episodes", "not_scored", "q1_distress_s", "q1_scored_s",
    "q4_distress_s", "q4_scored_s",
)  # fmt: skip


def _why(row: dict[str, Any]) -> str:
    said = []
    if row["episodes"]:
        said.append(f"{counted(row['episodes'], 'episode')} of distress")
    if row["escalated"] or row["recovered"]:
        said.append(change_of_distress(row))
    if row["not_scored"]:
        said.append(NOT_SCORED[row["not_scored"]])
    return "; ".join(said)


def _link(audio: str, folder: Path) -> str | None:
    """Return the URL of the audio, relative to `folder`; None if it does not exist."""
    try:
        if os.path.exists(audio):
            return quote(os.fsencode(os.path.relpath(audio, folder)))
    except ValueError:
        pass
    return None


def _text(value: Any) -> Any:
    return (
        value if value is None or isinstance(value, (int, float, str)) else str(value)
    )


def _chunks(opened: Opened, where: dict[str, int]) -> Iterator[str]:
    """Yield the details of all calls in chunks, packed as JSON, gzip and base64.

    The position of each recording among them is entered into `where`.
    """
    role = opened.report.role if opened.report.role != "everyone" else "customer"
    waiting: list[dict[str, Any]] = []
    for timeline in all_timelines(opened.connection, opened.results, role):
        where[timeline.call["recording_id"]] = len(where)
        waiting.append(_details(timeline))
        if len(waiting) == CHUNK:
            yield _packed(waiting)
            waiting = []
    if waiting:
        yield _packed(waiting)


def _packed(details: list[dict[str, Any]]) -> str:
    return base64.b64encode(
        gzip.compress(json.dumps(details, separators=(",", ":")).encode(), mtime=0)
    ).decode()


def _details(timeline: Timeline) -> dict[str, Any]:
    """Return a call's details: times in centiseconds, probabilities in thousandths."""

    def cs(seconds: float) -> int:
        return round(seconds * 100)

    return {
        "speech": [
            [ch, [cs(t) for region in regions for t in region]]
            for ch, regions in timeline.speech.items()
        ],
        "roles": {channel: timeline.who(channel) for channel in timeline.speech},
        "segments": [
            [
                s.channel,
                cs(s.start_s),
                cs(s.end_s),
                s.label,
                [round(p * 1000) for p in s.probabilities],
                round((s.distress or 0) * 1000),
            ]
            for s in timeline.segments
        ],
        "episodes": [
            [e.emotion, cs(e.start_s), cs(e.end_s), round(e.peak * 1000)]
            for e in timeline.episodes
        ],
        "cuts": [
            [cs(over.start_s), talk_over_text(timeline, over), over.is_interruption]
            for over in timeline.talk_overs
        ],
        "silences": [[cs(a), cs(b)] for a, b in timeline.silences],
        "moments": [
            [cs(m.start_s), timeline.who(m.channel), m.reason]
            for m in timeline.moments(8)
        ],
    }


def _json(values: Any) -> str:
    """Encode as JSON that is safe in a script element: ASCII, and without `<`."""
    return (
        json.dumps(values, separators=(",", ":"), default=str)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    )

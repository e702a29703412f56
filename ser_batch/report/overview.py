"""Everything that a report shows, as plain data: read `make_report` first."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb

from ser_batch.errors import ResultsError, UsageError
from ser_batch.manifest import read_manifest
from ser_batch.metadata import Metadata, Sources
from ser_batch.report.database import ResultsChanged, connect, reading, rows_of
from ser_batch.report.measures import STRONGEST_FIRST, measure
from ser_batch.report.portfolio import (
    MAX_GROUPS,
    Figure,
    Figures,
    Measure,
    distributions,
    figures,
    measures_of,
    share_names,
)
from ser_batch.report.timelines import Timeline, read_timelines

TRIES = 5
FAILURES = 1000
MAX_DAYS = 200
"""A longer period is shown by week."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a report is about."""

    sources: Sources = field(default_factory=Sources)
    since: datetime | None = None
    until: datetime | None = None
    by: str | None = None
    compare: str | None = None
    """Another results directory, a period `FROM..TO`, or `previous`: the period of the same length before."""
    role: str = "customer"
    """Whose emotions, where roles were named: customer, or agent."""
    top: int = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same measures elsewhere or earlier, and what has changed since: now less then."""

    against: str
    recordings: int
    then: dict[str, Figure]
    change: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Quarter:
    """How a quarter of the calls sounds: mean probabilities by scored time, which sum to 1."""

    shares: dict[str, float]
    distress: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What `ser report` tells, whichever way it is written.

    `days` are the measures of each calendar day (local time), `quarters` the emotions of each quarter of the
    calls: mean probabilities by scored time, which sum to 1. `top` are the calls most worth listening to.
    """

    directory: str
    model_id: str
    labels: tuple[str, ...]
    role: str
    """Whose emotions: customer, agent, or everyone where no roles were named."""
    first: datetime | None
    last: datetime | None
    measures: dict[str, Measure]
    total: Figures
    days: dict[str, Figures]
    hours: dict[int, Figures]
    by: str | None
    groups: dict[Any, Figures]
    distributions: dict[str, list[float]]
    """Quantiles (`QUANTILES`) of each measure over single recordings."""
    quarters: list[Quarter | None]
    top: list[Timeline]
    failures: list[dict[str, Any]]
    comparison: Comparison | None
    notes: list[str] = field(default_factory=list)

    def shares(self) -> dict[str, float]:
        """The mean probability of each label, by scored time; empty where nothing was scored."""
        shares = {label: self.total[name].value for label, name in share_names(self.labels).items()}
        return {label: share for label, share in shares.items() if share is not None}


@dataclass(frozen=True, slots=True)
class Opened:
    """A report, and the database that it was made from: `calls`, `episodes`, `quarters`."""

    report: Report
    connection: duckdb.DuckDBPyConnection
    metadata: Metadata


@contextmanager
def make_report(directory: Path, options: Options = Options()) -> Iterator[Opened]:
    """Reads the live rows of a results directory, measures every call, and sums up.

    Raises:
        ResultsError: the directory holds no results, or they are damaged.
        UsageError: the metadata, a period, or a column to group by cannot be used.
    """
    if options.since and options.until and options.since >= options.until:
        raise UsageError(f"--since {options.since} is not before --until {options.until}")
    with connect() as connection:

        def make() -> Opened:
            # The comparison first: the tables that stay are those of the report itself.
            compared = _compared(connection, directory, options) if options.compare is not None else None
            metadata = measure(connection, directory, options.sources, options.since, options.until, options.role)
            return Opened(_sum_up(connection, directory, options, metadata, compared), connection, metadata)

        yield _stable(directory, make)


def _sum_up(
    connection: duckdb.DuckDBPyConnection,
    directory: Path,
    options: Options,
    metadata: Metadata,
    compared: tuple[str, Figures] | None,
) -> Report:
    manifest = read_manifest(directory)
    labels = manifest.identity.labels
    total = figures(connection, labels)[None]
    comparison = None
    if compared:
        against, then = compared
        comparison = Comparison(against, then.recordings, then.values, total.less(then))
    first, last, by_roles, from_file = connection.execute(
        "SELECT min(started_at), max(started_at), count(customer_talk_s), count(*) FILTER (time_from = 'file') "
        "FROM calls"
    ).fetchall()[0]
    order = f"SELECT recording_id FROM calls WHERE peak_distress IS NOT NULL ORDER BY {STRONGEST_FIRST} LIMIT $n"
    top = [row[0] for row in connection.execute(order, {"n": options.top}).fetchall()]
    failed = "SELECT path, error FROM calls WHERE status = 'failed' ORDER BY path LIMIT $n"
    by_time = {}
    if first is not None:
        slot = "day" if (last.date() - first.date()).days < MAX_DAYS else "week"
        by_time = figures(connection, labels, slot)
        by_time.pop(None, None)  # recordings that vanished before anyone could look at them
    return Report(
        directory=str(directory),
        model_id=manifest.identity.model_id,
        labels=labels,
        role=options.role if by_roles else "everyone",
        first=first,
        last=last,
        measures=measures_of(labels),
        total=total,
        days=by_time,
        hours={hour: group for hour, group in figures(connection, labels, "hour").items() if hour is not None},
        by=options.by,
        groups=figures(connection, labels, options.by, most=MAX_GROUPS) if options.by is not None else {},
        distributions=distributions(connection, labels),
        quarters=_quarters(connection, labels),
        top=list(read_timelines(connection, directory, top, options.role)),
        failures=rows_of(connection, failed, {"n": FAILURES}),
        comparison=comparison,
        notes=[*_notes(directory, total, from_file, by_roles, options, compared), *metadata.notes],
    )


def _quarters(connection: duckdb.DuckDBPyConnection, labels: tuple[str, ...]) -> list[Quarter | None]:
    result: list[Quarter | None] = [None] * 4
    query = "SELECT quarter, sum(COLUMNS('(?s)^.*_s$')) AS '\\0' FROM quarters GROUP BY quarter"
    for row in rows_of(connection, query):
        if row["scored_s"]:
            shares = {label: row[f"p_{label}_s"] / row["scored_s"] for label in labels}
            distress = None if row["distress_s"] is None else row["distress_s"] / row["scored_s"]
            result[row["quarter"]] = Quarter(shares, distress)
    return result


def _notes(
    directory: Path,
    total: Figures,
    from_file: int,
    by_roles: int,
    options: Options,
    compared: tuple[str, Figures] | None,
) -> list[str]:
    notes = []
    if not total.recordings:
        notes.append("no recording lies in this period" if options.since or options.until else "there is no recording")
    elif not total["scored_h"].value:
        notes.append("nothing was scored: there is no speech, or all recordings failed")
    if from_file and total.recordings:
        which = "all" if from_file == total.recordings else f"{from_file} of {total.recordings}"
        notes.append(
            f"no started_at is known of {which} recordings: the time of the file's last change stands for it "
            "(--metadata or --name-pattern would tell)"
        )
    if 0 < by_roles < total["done"].value:  # type: ignore[operator]
        others = "what was scored of the others counts too" if options.role == "customer" else "the others are left out"
        notes.append(f"only some recordings have named roles: {others}")
    if (total["failed"].value or 0) > FAILURES:
        notes.append(f"only the first {FAILURES:,} failures are listed")
    if compared and not compared[1].recordings:
        notes.append(f"nothing to compare with: there is no recording in {compared[0]}")
    run = _last_run(directory)
    if run.get("finished_at", "") is None:
        notes.append(
            "the last run has not finished: it is still going on, or was killed; `ser analyze` goes on with it"
        )
    elif run.get("interrupted"):
        pending = run.get("counts", {}).get("pending")
        notes.append(f"the last run was interrupted{f', {pending} recordings were pending' if pending else ''}")
    return notes


def _last_run(directory: Path) -> dict[str, Any]:
    try:
        run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def _compared(connection: duckdb.DuckDBPyConnection, directory: Path, options: Options) -> tuple[str, Figures]:
    given = options.compare or ""
    other, since, until = directory, options.since, options.until
    if given and os.path.isdir(given):
        other, against = Path(given), given
    elif given == "previous":
        if not since:
            raise UsageError("--compare previous needs --since: the period before is as long as that since then")
        try:
            until, since = since, since - ((until or datetime.now()) - since)
        except OverflowError:
            raise UsageError(f"--compare previous: there is no such period before {since}") from None
        against = f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"
    elif ".." in given:
        begin, _, end = given.partition("..")
        since, until, against = parse_time(begin), parse_time(end, end=True), given
    else:
        raise UsageError(f"--compare {given}: is no results directory, no period FROM..TO, and not `previous`")
    ours, theirs = read_manifest(directory).identity, read_manifest(other).identity
    if (ours.model_id, ours.labels) != (theirs.model_id, theirs.labels):
        raise UsageError(
            f"--compare {given}: was made with model {theirs.model_id}, and {directory} with {ours.model_id}: a "
            "difference would be one of models, not of calls"
        )
    if since and until and since >= until:
        raise UsageError(f"--compare {given}: {since} is not before {until}")
    with reading(other):
        measure(connection, other, options.sources, since, until, options.role)
        return against, figures(connection, theirs.labels, seed=1)[None]


def _stable(directory: Path, read: Callable[[], Opened]) -> Opened:
    """What `read` gives, also while a run is replacing parts that the manifest named a moment ago."""
    for _ in range(TRIES):
        try:
            with reading(directory):
                return read()
        except ResultsChanged:
            continue
    raise ResultsError(f"{directory}: changes faster than it can be read; wait for the run to end")


def parse_time(text: str, end: bool = False, now: datetime | None = None) -> datetime:
    """A local time: `2026-01-31`, `2026-01-31T14:00`, or `7d`, `36h`: so long ago.

    A day as the `end` of a period is meant with all its hours.

    >>> parse_time("2026-01-31", end=True)
    datetime.datetime(2026, 2, 1, 0, 0)
    >>> parse_time("7d", now=datetime(2026, 1, 31, 12))
    datetime.datetime(2026, 1, 24, 12, 0)

    Raises:
        UsageError: it is no time.
    """
    text = text.strip()
    if ago := re.fullmatch(r"(\d{1,5})([dh])", text):
        unit = timedelta(days=1) if ago[2] == "d" else timedelta(hours=1)
        try:
            return (now or datetime.now()) - int(ago[1]) * unit
        except OverflowError:
            raise UsageError(f"{text!r} is beyond what a calendar holds") from None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text)
            return datetime.combine(day, time()) + timedelta(days=int(end))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time: write 2026-01-31, 2026-01-31T14:00, 7d or 36h") from None
    try:
        return moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError:
        raise UsageError(f"{text!r} is beyond what a calendar holds") from None


def check_thresholds(report: Report, conditions: list[str]) -> list[str]:
    """The conditions that hold, each as a line: `angry_share > 0.2: it is 0.31`.

    A measure that has no value crosses no threshold.

    Raises:
        UsageError: a condition is not `MEASURE OP NUMBER`, or there is no such measure.
    """
    operators: dict[str, Callable[[float, float], bool]] = {
        ">": float.__gt__, ">=": float.__ge__, "<": float.__lt__, "<=": float.__le__,
    }  # fmt: skip
    crossed = []
    for condition in conditions:
        parsed = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?\d*\.?\d+(?:[eE]-?\d+)?)(\s*%)?\s*", condition)
        if not parsed:
            raise UsageError(f"--fail-if {condition!r}: write MEASURE > NUMBER, for example 'angry_share > 0.2'")
        name, operator, number, percent = parsed.groups()
        if name not in report.measures:
            raise UsageError(
                f"--fail-if {condition!r}: there is no measure {name}; there are {', '.join(report.measures)}"
            )
        value, limit = report.total[name].value, float(number) / (100 if percent else 1)
        if value is not None and operators[operator](value, limit):
            crossed.append(f"{condition.strip()}: it is {value:.4g}")
    return crossed

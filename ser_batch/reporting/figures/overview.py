"""The contents of a report, as plain data: start with `make_report`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from ser_batch.errors import UsageError
from ser_batch.labelling.folder import open_labelling
from ser_batch.metadata.gathering import Metadata
from ser_batch.reporting.figures.calls import STANDING_OUT, STRONGEST_FIRST, measure
from ser_batch.reporting.figures.checked import (
    UNCHECKED,
    Checked,
    check_on_labels,
    checked_notes,
)
from ser_batch.reporting.figures.comparison import (
    Compared,
    Comparison,
    compare,
    compared_figures,
    models_notes,
)
from ser_batch.reporting.figures.database import connect, rows_of, translated_errors
from ser_batch.reporting.figures.estimates import beyond_chance
from ser_batch.reporting.figures.groups import (
    MAX_GROUPS,
    Figures,
    chances_against_the_rest,
    cluster_of,
    distributions,
    figures_by,
)
from ser_batch.reporting.figures.measures import Measure, measures_of, share_names
from ser_batch.reporting.figures.model_error import (
    Interval,
    error_notes,
    true_shares,
)
from ser_batch.reporting.figures.notes import (
    FAILURES,
    cluster_notes,
    not_scored_notes,
    notes_on,
    out_of_domain_notes,
)
from ser_batch.reporting.figures.periods import local_now, zone_name
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.figures.timeline_reading import read_timelines
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.results.reading import ResultsChanged
from ser_batch.results.results import Results, read_stably

GROUPED = (
    "distress_share", "angry_share", "valence", "episode_share", "silence_share",
    "overtalk_share",
)  # fmt: skip
"""The measures shown for groups."""
MAX_DAYS = 200
"""Longer periods are shown by week."""


@dataclass(frozen=True, slots=True)
class Quarter:
    """The emotions of one quarter of the calls.

    `shares` are mean probabilities, weighted by scored time, which sum to 1.
    """

    shares: dict[str, float]
    distress: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The contents of `ser report`, whatever the output format.

    `days` are the measures of each calendar day (local time), `quarters` the emotions
    of each quarter of the calls. `top` are the calls that stand out, in descending
    order.
    """

    directory: str
    model_id: str
    labels: tuple[str, ...]
    role: str
    """Whose emotions: customer, agent, or everyone if no roles were given."""
    timezone: str
    """The time zone of days and hours."""
    made_on: date
    """The day on which the report was made, in that time zone."""
    first: datetime | None
    last: datetime | None
    measures: dict[str, Measure]
    total: Figures
    days: dict[str, Figures]
    hours: dict[int, Figures]
    by: str | None
    cluster: str | None
    """The column whose values are the units of intervals; None if recordings are."""
    groups: dict[Any, Figures]
    standing_out: set[tuple[Any, str]]
    """Pairs of a group and a measure in `GROUPED`.

    In these, the group differs from all other groups combined, beyond chance (by Holm's
    procedure over all pairs).
    """
    distributions: dict[str, list[float]]
    """Quantiles (`QUANTILES`) of each measure over single recordings."""
    quarters: list[Quarter | None]
    top: list[Timeline]
    failures: list[dict[str, Any]]
    comparison: Comparison | None
    true_shares: dict[str, Interval]
    """Ranges of the true values of some shares, allowing for the model's errors.

    From corpora; empty if labels of these calls correct them.
    """
    checked: Checked | None
    """What labellers heard in a sample of these calls."""
    notes: list[str] = field(default_factory=list)

    def shares(self) -> dict[str, float]:
        """Return the mean probability of each label, weighted by scored time.

        Empty if nothing was scored.
        """
        shares = {
            label: self.total[name].value
            for label, name in share_names(self.labels).items()
        }
        return {label: share for label, share in shares.items() if share is not None}


@dataclass(frozen=True, slots=True)
class Opened:
    """A report, its results, and the database with `calls`, `episodes`, `quarters`."""

    report: Report
    results: Results
    connection: duckdb.DuckDBPyConnection
    metadata: Metadata


@contextmanager
def make_report(results: Results, options: Options = Options()) -> Iterator[Opened]:
    """Measure every call of results, and summarise them.

    If a run replaces parts in the meantime, start again with the parts that are live
    then.

    Raises:
        ResultsError: the results are damaged.
        UsageError: the metadata, a period, or a column to group by cannot be used.
    """
    if options.since and options.until and options.since >= options.until:
        raise UsageError(
            f"--since {options.since} is not before --until {options.until}",
            option="--since",
        )
    with connect() as connection:

        def make(results: Results) -> Opened:
            # The comparison first, since the report's tables must be those that remain.
            compared = None
            if options.compare is not None:
                compared = compared_figures(connection, results, options)
            with translated_errors(results):
                metadata = measure(connection, results, options)
                report = _sum_up(connection, results, options, metadata, compared)
            return Opened(report, results, connection, metadata)

        try:
            opened = make(results)
        except ResultsChanged:
            opened = read_stably(results.directory, make)
        yield opened


def _sum_up(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    options: Options,
    metadata: Metadata,
    compared: Compared | None,
) -> Report:
    labels = results.labels
    cluster = cluster_of(connection, options.cluster)
    total = figures_by(connection, labels, cluster=cluster)[None]
    comparison = None
    if compared:
        comparison = compare(total, compared)
    first, last, by_roles, nameless, from_file, undated = connection.execute(
        "SELECT min(started_at), max(started_at), count(customer_talk_s), "
        "count(*) FILTER (customer_talk_s IS NULL AND scored_s > 0), "
        "count(*) FILTER (time_from = 'file'), count(*) FILTER (started_at IS NULL) "
        "FROM calls"
    ).fetchall()[0]
    order = (
        f"SELECT recording_id FROM calls WHERE {STANDING_OUT} "
        f"ORDER BY {STRONGEST_FIRST} LIMIT $n"
    )
    top = [row[0] for row in connection.execute(order, {"n": options.top}).fetchall()]
    failed = (
        "SELECT path, error FROM calls WHERE status = 'failed' ORDER BY path LIMIT $n"
    )
    by_time = {}
    if first is not None:
        slot = "day" if (last.date() - first.date()).days < MAX_DAYS else "week"
        by_time = figures_by(connection, labels, slot, cluster=cluster)
        by_time.pop(None, None)  # recordings of unknown start
    groups, standing_out = {}, set()
    if options.by is not None:
        # A group of a single unit would have no interval: recordings are its units.
        own = None if options.by == cluster else cluster
        groups = figures_by(connection, labels, options.by, MAX_GROUPS, own)
        chances = chances_against_the_rest(
            connection, labels, groups, options.by, GROUPED, own
        )
        standing_out = beyond_chance(chances)
    role = options.role if by_roles else None
    checked, trust = _trust(results, options, total, role)
    shares = {}
    if checked is None or not checked.shares:
        shares = true_shares(total, labels, results.run_record)
    return Report(
        directory=results.name,
        model_id=results.model_id,
        labels=labels,
        role=role or "everyone",
        timezone=zone_name(options.inputs.zone),
        made_on=local_now(options.inputs.zone).date(),
        first=first,
        last=last,
        measures=measures_of(labels),
        total=total,
        days=by_time,
        hours={
            hour: group
            for hour, group in figures_by(
                connection, labels, "hour", cluster=cluster
            ).items()
            if hour is not None
        },
        by=options.by,
        cluster=cluster,
        groups=groups,
        standing_out=standing_out,
        distributions=distributions(connection, labels),
        quarters=_quarters(connection, labels),
        top=list(read_timelines(connection, results, top, options.role)),
        failures=rows_of(connection, failed, {"n": FAILURES}),
        comparison=comparison,
        true_shares=shares,
        checked=checked,
        notes=[
            *trust,
            *notes_on(
                results,
                total,
                (from_file, undated),
                by_roles and nameless,
                options,
                compared,
            ),
            *models_notes(connection, results.model_id, compared),
            *cluster_notes(connection, cluster, compared),
            *not_scored_notes(connection),
            *out_of_domain_notes(connection, results),
            *error_notes(shares, total, labels),
            *metadata.notes,
        ],
    )


def _trust(
    results: Results, options: Options, total: Figures, role: str | None
) -> tuple[Checked | None, list[str]]:
    """Return what labels say of the shares, and notes on how far to trust them."""
    labels = results.labels
    if options.labels is not None:
        open_labelling(options.labels)  # before its name is kept
    if not total["scored_h"].value or not labels:
        return None, []
    folder = options.labels or results.labels_folder
    if folder is None:
        return None, [UNCHECKED.format(directory=results.name)]
    try:
        checked = check_on_labels(results, folder, total, labels, role)
    except UsageError as error:
        if options.labels is not None:
            raise
        return None, [f"the labels kept with the results cannot be used: {error}"]
    return checked, checked_notes(checked, labels)


def _quarters(
    connection: duckdb.DuckDBPyConnection, labels: tuple[str, ...]
) -> list[Quarter | None]:
    result: list[Quarter | None] = [None] * 4
    query = (
        "SELECT quarter, sum(COLUMNS('(?s)^.*_s$')) AS '\\0' "
        "FROM quarters GROUP BY quarter"
    )
    for row in rows_of(connection, query):
        if row["scored_s"]:
            shares = {label: row[f"p_{label}_s"] / row["scored_s"] for label in labels}
            distress = (
                None
                if row["distress_s"] is None
                else row["distress_s"] / row["scored_s"]
            )
            result[row["quarter"]] = Quarter(shares, distress)
    return result

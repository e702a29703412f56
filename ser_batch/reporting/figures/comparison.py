"""Comparison of a report with another results directory or another period."""

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.calls import STANDING_OUT, STRONGEST_FIRST, measure
from ser_batch.reporting.figures.database import translated_errors
from ser_batch.reporting.figures.estimates import beyond_chance
from ser_batch.reporting.figures.groups import Figure, Figures, cluster_of, figures_by
from ser_batch.reporting.figures.periods import local_now, parse_time
from ser_batch.reporting.figures.selection import Options
from ser_batch.results.results import Results, open_results
from ser_batch.storage.checkout import results_folder
from ser_batch.storage.objects import is_address
from ser_batch.text import counted

TOP = 20
"""How many calls of most concern two models are compared by."""

COMPARED = (
    "distress_share", "angry_share", "sad_share", "happy_share", "valence",
    "abstained_share", "episode_share", "escalated_share", "recovered_share",
    "silence_share", "overtalk_share", "agent_talk_share", "response_latency_s",
    "interruptions_per_minute", "mean_duration_s", "failed_share",
)  # fmt: skip
"""The measures shown in a comparison. JSON has all of them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same measures elsewhere or earlier, and the changes: now minus then.

    `clear` are the changes among `COMPARED` that are beyond chance, by Holm's procedure
    over these.
    """

    against: str
    recordings: int
    then: dict[str, Figure]
    change: dict[str, Figure]
    clear: frozenset[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """The other side of a comparison."""

    against: str
    """Its name."""
    figures: Figures
    cluster: str | None
    """The column whose values are the units of its intervals."""
    model_id: str
    top: list[str]
    """The paths of its `TOP` calls of most concern."""


def compare(now: Figures, then: Compared) -> Comparison:
    """Return the changes from `then` to `now`."""
    change = now.less(then.figures)
    chances = now.chances_against(then.figures.estimates)
    clear = beyond_chance({name: chances[name] for name in COMPARED if name in change})
    return Comparison(
        then.against,
        then.figures.recordings,
        then.figures.values,
        change,
        frozenset(clear),
    )


def compared_figures(
    connection: duckdb.DuckDBPyConnection, results: Results, options: Options
) -> Compared:
    """Measure the other side of the comparison.

    It may be that of another model with the same labels, such as one that was adapted.
    """
    other, since, until, against = _compared_period(results, options)
    if results.labels != other.labels:
        raise UsageError(
            f"--compare {options.compare}: analysed with model {other.model_id}, but "
            f"{results.directory} with {results.model_id}, which has other labels; "
            "they cannot be compared",
            option="--compare",
        )
    if since and until and since >= until:
        raise UsageError(
            f"--compare {options.compare}: {since} is not before {until}",
            option="--compare",
        )
    with translated_errors(other):
        measure(connection, other, replace(options, since=since, until=until))
        cluster = cluster_of(connection, options.cluster)
        figures = figures_by(connection, other.labels, cluster=cluster)[None]
        top = top_calls(connection)
        return Compared(against, figures, cluster, other.model_id, top)


def top_calls(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the paths of the `TOP` calls of most concern."""
    query = (
        f"SELECT path FROM calls WHERE {STANDING_OUT} ORDER BY {STRONGEST_FIRST} "
        f"LIMIT {TOP}"
    )
    return [row[0] for row in connection.execute(query).fetchall()]


def models_notes(
    connection: duckdb.DuckDBPyConnection, model_id: str, compared: Compared | None
) -> list[str]:
    """Return notes on a comparison of two models, in which the calls may be the same.

    `connection` has the calls of this side.
    """
    if compared is None or compared.model_id == model_id:
        return []
    notes = [
        f"{compared.against} was analysed with {compared.model_id}, this with "
        f"{model_id}: the models differ, so changes need not be those of the calls"
    ]
    if compared.top:
        kept = len(set(compared.top) & set(top_calls(connection)))
        notes.append(
            f"of the {counted(len(compared.top), 'call')} of most concern there, "
            f"{kept} are among the {TOP} here"
        )
    return notes


def _compared_period(
    results: Results, options: Options
) -> tuple[Results, datetime | None, datetime | None, str]:
    """Return the results, the period and the name of the other side."""
    given = options.compare or ""
    if is_address(given) or os.path.isdir(given):
        return open_results(results_folder(given)), options.since, options.until, given
    if given == "previous":
        since, until = _previous_period(options)
        against = f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"
        return results, since, until, against
    if ".." in given:
        begin, _, end = given.partition("..")
        zone = options.inputs.zone
        return (
            results,
            parse_time(begin, zone=zone),
            parse_time(end, end=True, zone=zone),
            given,
        )
    raise UsageError(
        f"--compare {given}: not a results directory, a period FROM..TO, or `previous`",
        option="--compare",
    )


def _previous_period(options: Options) -> tuple[datetime, datetime]:
    """Return the same hours, the fewest whole days earlier that avoid an overlap.

    Today until nine is compared with yesterday until nine, and a week with the same
    weekdays of the week before.
    """
    if not options.since:
        raise UsageError(
            "--compare previous needs --period or --since, which the previous period "
            "depends on",
            option="--compare",
        )
    until = options.until or local_now(options.inputs.zone)
    day = timedelta(days=1)
    earlier = -((options.since - until) // day) * day  # the length, rounded up to days
    try:
        return options.since - earlier, until - earlier
    except OverflowError:
        raise UsageError(
            f"--compare previous: no such period before {options.since}",
            option="--compare",
        ) from None

"""Comparison of a report with another results directory or another period."""

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.calls import measure
from ser_batch.reporting.figures.database import translated_errors
from ser_batch.reporting.figures.estimates import beyond_chance
from ser_batch.reporting.figures.groups import Figure, Figures, cluster_of, figures_by
from ser_batch.reporting.figures.periods import local_now, parse_time
from ser_batch.reporting.figures.selection import Options
from ser_batch.results.results import Results, open_results

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


def compare(now: Figures, against: str, then: Figures) -> Comparison:
    """Return the changes from `then` to `now`."""
    change, chances = now.less(then), now.chances_against(then.estimates)
    clear = beyond_chance({name: chances[name] for name in COMPARED if name in change})
    return Comparison(against, then.recordings, then.values, change, frozenset(clear))


def compared_figures(
    connection: duckdb.DuckDBPyConnection, results: Results, options: Options
) -> tuple[str, Figures, str | None]:
    """Measure the other side of the comparison.

    Returns:
        Its name, its figures, and the column whose values are the units of their
        intervals.
    """
    other, since, until, against = _compared_period(results, options)
    if (results.model_id, results.labels) != (other.model_id, other.labels):
        raise UsageError(
            f"--compare {options.compare}: analysed with model {other.model_id}, but "
            f"{results.directory} with {results.model_id}; results of different models "
            "cannot be compared",
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
        return against, figures, cluster


def _compared_period(
    results: Results, options: Options
) -> tuple[Results, datetime | None, datetime | None, str]:
    """Return the results, the period and the name of the other side."""
    given = options.compare or ""
    if given and os.path.isdir(given):
        return open_results(given), options.since, options.until, given
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

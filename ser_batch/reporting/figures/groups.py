"""From one row for each recording to figures over many: totals, groups, trends, comparisons, with intervals.

Every figure is a `Measure`: a sum over recordings divided by another. So totals, groups, and days are all made in the same
way, and long calls count for more where time is what is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.calls import COLUMNS
from ser_batch.reporting.figures.database import arrow, quoted, rows_of
from ser_batch.reporting.figures.estimates import (
    Estimates,
    Units,
    difference_limits,
    estimate,
    p_values,
)
from ser_batch.reporting.figures.measures import (
    Measure,
    measures_of,
    single_measures,
)

BUCKETS = 400
"""More units than this are dealt into so many, which stand in their place: the interval is as wide, and a million recordings
take no longer."""
SAMPLED = 20_000
"""Of more recordings than this, quantiles are those of so many, drawn at random but always alike."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_GROUPS = 200
AGENTS = ("agent", "agent_id", "agent_name")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's value, and its 95 % interval.

    None where nothing was measured, or too few recordings were (`MIN_UNITS`).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    recordings: int = 0
    """How many recordings the figure rests on."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The measures of one group of recordings, and what their intervals come from."""

    values: dict[str, Figure]
    recordings: int
    estimates: Estimates = field(repr=False)

    def __getitem__(self, name: str) -> Figure:
        return self.values[name]

    def less(self, then: "Figures") -> dict[str, Figure]:
        """The differences to another period or directory, with their intervals."""
        low, high = difference_limits(self.estimates, then.estimates)
        result = {}
        for i, (name, now) in enumerate(self.values.items()):
            before = then[name]
            if now.value is not None and before.value is not None:
                n = min(now.recordings, before.recordings)
                difference = now.value - before.value
                result[name] = Figure(difference, _known(low[i]), _known(high[i]), n)
        return result

    def chances_against(self, others: Estimates) -> dict[str, float]:
        """Return for each measure the p-value of its difference to that of others."""
        limits = partial(difference_limits, self.estimates, others)
        p = p_values(limits, len(self.values))
        return dict(zip(self.values, map(float, p), strict=True))


def chances_against_the_rest(
    connection: duckdb.DuckDBPyConnection,
    labels: Sequence[str],
    groups: Mapping[Any, Figures],
    by: str,
    names: Sequence[str],
    cluster: str | None,
) -> dict[tuple[Any, str], float]:
    """Return for each group and each of some measures the p-value of its difference to all others together."""
    every = measures_of(labels)
    wanted = [every[name] for name in names if name in every]
    sums = _sums(connection, wanted, by, cluster, across=True)
    # What a unit adds in several groups is one addend of the rest.
    total = sums.drop(columns="key").groupby("bucket").sum()
    found: dict[tuple[Any, str], float] = {}
    for key, rows in sums.groupby("key", sort=False, dropna=False):
        own = (
            rows.drop(columns="key").set_index("bucket").reindex(total.index).fillna(0)
        )
        rest = _estimates(total - own, wanted, cluster is None)
        key = None if pd.isna(key) else key
        group = groups[key].estimates.of([list(every).index(m.name) for m in wanted])
        p = p_values(partial(difference_limits, group, rest), len(wanted))
        found |= {(key, m.name): float(p[i]) for i, m in enumerate(wanted)}
    return found


def figures_by(
    connection: duckdb.DuckDBPyConnection,
    labels: Sequence[str],
    by: str | None = None,
    most: int | None = None,
    cluster: str | None = None,
) -> dict[Any, Figures]:
    """The measures of all recordings (under the key None), or of each group of them.

    Units are dealt at random, but always in the same way, into at most `BUCKETS`.

    Args:
        by: a column of `calls`, built-in or of the metadata.
        most: groups that there may be; None for any number.
        cluster: a column whose values are the units that intervals come from, for
            recordings of one agent resemble each other; else each recording is one.

    Raises:
        UsageError: `by` or `cluster` is no column, or `by` has more than `most` values.
    """
    wanted = list(measures_of(labels).values())
    table = _sums(connection, wanted, by, cluster)
    if by is None:
        return {None: _of_group(table, wanted, cluster is None)}
    groups = {
        None if pd.isna(key) else key: rows
        for key, rows in table.groupby("key", sort=False, dropna=False)
    }
    if most is not None and len(groups) > most:
        raise UsageError(
            f"--by {by}: has {len(groups)} values, more than {most}; choose a coarser column"
        )
    return {
        key: _of_group(rows, wanted, cluster is None) for key, rows in groups.items()
    }


def _sums(
    connection: duckdb.DuckDBPyConnection,
    wanted: Sequence[Measure],
    by: str | None,
    cluster: str | None,
    across: bool = False,
) -> pd.DataFrame:
    """Return the sums of each measure by group (`key`) and unit (`bucket`); `across` groups, a unit has one bucket."""
    group = "NULL" if by is None else quoted(_column(connection, by, "--by"))
    unit = "recording_id"
    if cluster is not None:
        column = quoted(_column(connection, cluster, "--cluster"))
        unit = f"coalesce({column}::VARCHAR, recording_id)"
    sums = ", ".join(
        f"sum(CASE WHEN ({m.by}) IS NOT NULL THEN {m.over} END)::DOUBLE AS over_{i}, "
        f"sum(CASE WHEN ({m.over}) IS NOT NULL THEN {m.by} END)::DOUBLE AS by_{i}, "
        f"count(CASE WHEN ({m.by}) > 0 THEN {m.over} END) AS n_{i}"
        for i, m in enumerate(wanted)
    )
    partition = "" if across else f"PARTITION BY {group}"
    found = arrow(
        connection,
        f"""
        SELECT key, bucket, count(*) AS recordings, {sums}
        FROM (
            SELECT
                {group} AS key,
                dense_rank() OVER ({partition} ORDER BY hash({unit}), {unit}) % {BUCKETS} AS bucket,
                *
            FROM calls
        )
        GROUP BY key, bucket
        ORDER BY key, bucket
        """,
    )
    # pandas would make 9 a 9.0 beside a null
    keys = pd.Series(found["key"].to_pylist(), dtype="object")
    return found.to_pandas().assign(key=keys)


def cluster_of(connection: duckdb.DuckDBPyConnection, wanted: str | None) -> str | None:
    """Return the column whose values are the units of intervals, None for single recordings.

    Unless one is `wanted` ("none" for none), it is a column of the metadata that says who
    the agent was.
    """
    if wanted is not None:
        return None if wanted == "none" else wanted
    known = {name.lower(): name for name in groupable(connection)}
    return next((known[name] for name in AGENTS if name in known), None)


def count_of(connection: duckdb.DuckDBPyConnection, column: str) -> int:
    """Return how many values a column has."""
    query = f"SELECT count(DISTINCT {quoted(column)}) FROM calls"
    return int(connection.execute(query).fetchall()[0][0])


def _of_group(
    rows: pd.DataFrame, wanted: Sequence[Measure], are_recordings: bool
) -> Figures:
    found = _estimates(rows, wanted, are_recordings)
    low, high = found.limits()
    values = {
        measure.name: Figure(
            _known(found.value[i]),
            _known(low[i]),
            _known(high[i]),
            int(found.recordings[i]),
        )
        for i, measure in enumerate(wanted)
    }
    return Figures(values, int(rows.recordings.sum()), found)


def _estimates(
    rows: pd.DataFrame, wanted: Sequence[Measure], are_recordings: bool
) -> Estimates:
    over, by, n = (
        rows[[f"{part}_{i}" for i in range(len(wanted))]].fillna(0).to_numpy(float)
        for part in ("over", "by", "n")
    )
    return estimate(Units(over, by, n), [m.scale for m in wanted], are_recordings)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _column(connection: duckdb.DuckDBPyConnection, name: str, option: str) -> str:
    columns = [
        row[0]
        for row in connection.execute(
            "SELECT column_name FROM (DESCRIBE calls)"
        ).fetchall()
    ]
    if name not in columns:
        raise UsageError(
            f"{option} {name}: there is no such column; there are {', '.join(groupable(connection))}",
            option=option,
        )
    return name


def distributions(
    connection: duckdb.DuckDBPyConnection, labels: Sequence[str]
) -> dict[str, list[float]]:
    """How each measure is spread over single recordings, as `QUANTILES`; one that no recording has is left out."""
    wanted = single_measures(labels)
    chosen = ", ".join(
        f"quantile_cont({m.of_one}, {list(QUANTILES)}) AS {quoted(m.name)}"
        for m in wanted.values()
    )
    some = f"(FROM calls USING SAMPLE {SAMPLED} ROWS (reservoir, 1))"
    (row,) = rows_of(connection, f"SELECT {chosen} FROM {some}")
    return {name: values for name, values in row.items() if values is not None}


def groupable(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns that recordings may be grouped by: those of the metadata, and some that every recording has."""
    columns = [
        row[0]
        for row in connection.execute(
            "SELECT column_name FROM (DESCRIBE calls)"
        ).fetchall()
    ]
    own = [
        name for name in columns if name not in COLUMNS and not name.startswith("p_")
    ]
    return [
        *own,
        "folder",
        "day",
        "week",
        "weekday",
        "hour",
        "channels",
        "one_sided",
        "input_root",
    ]

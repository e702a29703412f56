"""Figures over many recordings, with intervals: totals, groups, trends, comparisons.

Every figure is a `Measure`, one sum over recordings divided by another. Totals, groups
and days are therefore all computed in the same way, and long calls have more weight in
measures of time.
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
"""Most units of an interval.

If there are more, they are pooled at random into this many: the interval is as wide,
and a million recordings take no longer.
"""
SAMPLED = 20_000
"""Quantiles of more recordings than this are those of a sample of this size.

The sample is random, but the same each time.
"""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_GROUPS = 200
AGENTS = ("agent", "agent_id", "agent_name")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's value and its 95 % interval.

    None where nothing was measured, or where there are too few units (`MIN_UNITS`).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    recordings: int = 0
    """Number of recordings behind the figure."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The measures of one group of recordings, with the estimates behind them."""

    values: dict[str, Figure]
    recordings: int
    estimates: Estimates = field(repr=False)

    def __getitem__(self, name: str) -> Figure:
        return self.values[name]

    def less(self, then: "Figures") -> dict[str, Figure]:
        """Return the differences from another period or directory, with intervals."""
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
        """Return the p-value of each measure's difference from that of others."""
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
    """Return the p-value of each group's difference from all other groups combined.

    The keys are pairs of a group and one of the measures in `names`.
    """
    every = measures_of(labels)
    wanted = [every[name] for name in names if name in every]
    sums = _sums(connection, wanted, by, cluster, across=True)
    # A unit that is in several groups is still one unit of the rest.
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
    """Return the measures of all recordings (under the key None), or of each group.

    Units are pooled into at most `BUCKETS`, at random but in the same way each time.

    Args:
        connection: a database with `calls`.
        labels: the labels of the model.
        by: a column of `calls`, built-in or from the metadata.
        most: the largest number of groups allowed; None for any number.
        cluster: a column whose values are the units of the intervals, since recordings
            of one agent, for example, resemble each other. None to use recordings.

    Raises:
        UsageError: `by` or `cluster` is not a column, or `by` has more than `most`
            values.
    """
    wanted = list(measures_of(labels).values())
    table = _sums(connection, wanted, by, cluster)
    if by is None:
        return {None: _of_group(table, wanted, cluster is None)}
    # By number, since pandas would turn integer keys into floats beside a null.
    numbers, keys = pd.factorize(table["key"], use_na_sentinel=False)
    groups = {
        None if pd.isna(key) else key: table[numbers == number]
        for number, key in enumerate(keys)
    }
    if most is not None and len(groups) > most:
        raise UsageError(
            f"--by {by}: {len(groups)} values, more than the limit of {most}; choose a "
            "coarser column"
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
    """Return the sums of each measure by group (`key`) and unit (`bucket`).

    With `across`, a unit has the same bucket in all groups.
    """
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
                dense_rank() OVER ({partition} ORDER BY hash({unit}), {unit})
                    % {BUCKETS} AS bucket,
                *
            FROM calls
        )
        GROUP BY key, bucket
        ORDER BY key, bucket
        """,
    )
    # to_pandas would turn integer keys into floats if there is a null among them.
    keys = pd.Series(found["key"].to_pylist(), dtype="object")
    return found.to_pandas().assign(key=keys)


def cluster_of(connection: duckdb.DuckDBPyConnection, wanted: str | None) -> str | None:
    """Return the column whose values are the units of intervals.

    None if recordings are the units. Unless a column is `wanted` ("none" for none), it
    is a metadata column that names the agent.
    """
    if wanted is not None:
        return None if wanted == "none" else wanted
    known = {name.lower(): name for name in groupable(connection)}
    return next((known[name] for name in AGENTS if name in known), None)


def count_of(connection: duckdb.DuckDBPyConnection, column: str) -> int:
    """Return the number of distinct values of a column."""
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
            f"{option} {name}: no such column; choose from "
            f"{', '.join(groupable(connection))}",
            option=option,
        )
    return name


def distributions(
    connection: duckdb.DuckDBPyConnection, labels: Sequence[str]
) -> dict[str, list[float]]:
    """Return the `QUANTILES` of each measure over single recordings.

    Measures that no recording has are left out.
    """
    wanted = single_measures(labels)
    chosen = ", ".join(
        f"quantile_cont({m.of_one}, {list(QUANTILES)}) AS {quoted(m.name)}"
        for m in wanted.values()
    )
    some = f"(FROM calls USING SAMPLE {SAMPLED} ROWS (reservoir, 1))"
    (row,) = rows_of(connection, f"SELECT {chosen} FROM {some}")
    return {name: values for name, values in row.items() if values is not None}


def groupable(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the columns that recordings can be grouped by.

    These are the metadata columns and some that every recording has.
    """
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

"""From one row for each recording to figures over many: totals, groups, trends, comparisons, with intervals.

Every figure is a `Measure`: a sum over recordings divided by another. So totals, groups, days and replicates of the
bootstrap are all made in the same way, and long calls count for more where time is what is measured.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.calls import COLUMNS
from ser_batch.reporting.figures.database import arrow, quoted, rows_of

BUCKETS = 400
"""More recordings than this are dealt into so many groups, which are resampled in their place: the interval is as wide,
and a million recordings take no longer."""
MEASURES = tomllib.loads(
    (Path(__file__).parent / "measures.toml").read_text(encoding="utf-8")
)
REPLICATES = 1000
OF_MANY = frozenset(
    ("recordings", "done", "failed", "failed_share", "episodes", "episode_share", "angry_episode_share",
     "fearful_episode_share", "escalated_share", "recovered_share", "one_sided_share", "audio_h", "talk_h", "scored_h")
)  # fmt: skip
"""Measures that say nothing new of a single recording."""
SAMPLED = 20_000
"""Of more recordings than this, quantiles are those of so many, drawn at random but always alike."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MIN_RECORDINGS = 5
"""Fewer give no interval: resampling so few says nothing of others."""
MAX_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure over recordings: the sum of `over` divided by the sum of `by`; both are SQL over a row of `calls`.

    Rows in which either is null do not count.
    """

    name: str
    over: str
    by: str
    unit: str
    meaning: str
    kind: str = "share"
    """How it is written: share (a percentage), rate, seconds, score, or count (a plain sum)."""

    @property
    def of_one(self) -> str:
        """The measure of a single row, in SQL."""
        return f"(({self.over})::DOUBLE / nullif(({self.by})::DOUBLE, 0))"

    @property
    def sql(self) -> str:
        """The measure over a group of rows."""
        over = f"sum(CASE WHEN ({self.by}) IS NOT NULL THEN {self.over} END)"
        by = f"sum(CASE WHEN ({self.over}) IS NOT NULL THEN {self.by} END)"
        return over if self.kind == "count" else f"{over} / nullif({by}, 0)"


def measures_of(labels: Sequence[str]) -> dict[str, Measure]:
    """Every measure by its name, for results with these labels: measures.toml, and each label's share."""
    own = {name: Measure(name=name, **values) for name, values in MEASURES.items()}
    shares = {
        name: Measure(
            name,
            quoted(f"p_{label}_s"),
            "scored_s",
            "1",
            f"mean probability of {label}, by scored time",
        )
        for label, name in share_names(labels).items()
    }
    return own | shares


def share_names(labels: Sequence[str]) -> dict[str, str]:
    """The measure that is each label's share: `angry_share`, or `label_silence_share` where that name is taken."""
    return {
        label: f"label_{label}_share"
        if f"{label}_share" in MEASURES
        else f"{label}_share"
        for label in labels
    }


def single_measures(labels: Sequence[str]) -> dict[str, Measure]:
    """The measures that say something of a single recording."""
    return {
        name: measure
        for name, measure in measures_of(labels).items()
        if name not in OF_MANY
    }


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's value, and its 95 % interval: percentiles of a bootstrap over recordings.

    None where nothing was measured, or too few recordings were (`MIN_RECORDINGS`).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    recordings: int = 0
    """How many recordings the figure rests on."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The measures of one group of recordings, and the replicates that their intervals come from."""

    values: dict[str, Figure]
    recordings: int
    replicates: dict[str, np.ndarray] = field(repr=False)

    def __getitem__(self, name: str) -> Figure:
        return self.values[name]

    def less(self, earlier: "Figures") -> dict[str, Figure]:
        """The differences to an earlier period or another directory, with their intervals."""
        result = {}
        for name, now in self.values.items():
            then = earlier.values.get(name)
            if then is None or now.value is None or then.value is None:
                continue
            low = high = None
            if now.low is not None and then.low is not None:
                low, high = _interval(self.replicates[name] - earlier.replicates[name])
            result[name] = Figure(
                now.value - then.value, low, high, min(now.recordings, then.recordings)
            )
        return result


def figures_by(
    connection: duckdb.DuckDBPyConnection,
    labels: Sequence[str],
    by: str | None = None,
    seed: int = 0,
    most: int | None = None,
) -> dict[Any, Figures]:
    """The measures of all recordings (under the key None), or of each group of them.

    Recordings are dealt at random, but always in the same way, into `BUCKETS`; a replicate draws as many buckets
    as there are, with replacement (Efron 1979).

    Args:
        by: a column of `calls`, built-in or of the metadata.
        most: groups that there may be; None for any number.

    Raises:
        UsageError: `by` is no column, or has more than `most` values.
    """
    wanted = list(measures_of(labels).values())
    group = "NULL" if by is None else quoted(_column(connection, by))
    sums = ", ".join(
        f"sum(CASE WHEN ({m.by}) IS NOT NULL THEN {m.over} END)::DOUBLE AS over_{i}, "
        f"sum(CASE WHEN ({m.over}) IS NOT NULL THEN {m.by} END)::DOUBLE AS by_{i}, "
        f"count(CASE WHEN ({m.by}) > 0 THEN {m.over} END) AS n_{i}"
        for i, m in enumerate(wanted)
    )
    sums_by_bucket = arrow(
        connection,
        f"""
        SELECT key, bucket, count(*) AS recordings, {sums}
        FROM (
            SELECT
                {group} AS key,
                row_number() OVER (PARTITION BY {group} ORDER BY hash(recording_id, $seed)) % {BUCKETS} AS bucket,
                *
            FROM calls
        )
        GROUP BY key, bucket
        ORDER BY key, bucket
        """,
        {"seed": seed},
    )
    keys = pd.Series(
        sums_by_bucket["key"].to_pylist(), dtype="object"
    )  # pandas would make 9 a 9.0 beside a null
    table = sums_by_bucket.to_pandas().assign(key=keys)
    if by is None:
        return {None: _of_group(table, wanted, seed)}
    groups = {
        None if pd.isna(key) else key: rows
        for key, rows in table.groupby("key", sort=False, dropna=False)
    }
    if most is not None and len(groups) > most:
        raise UsageError(
            f"--by {by}: has {len(groups)} values, more than {most}; choose a coarser column"
        )
    return {key: _of_group(rows, wanted, seed) for key, rows in groups.items()}


@lru_cache(maxsize=8)
def _draws(n: int, seed: int) -> np.ndarray:
    """How often each of `n` buckets is drawn in each replicate, (replicate, bucket)."""
    if not n:
        return np.zeros((REPLICATES, 0))
    return (
        np.random.default_rng(seed)
        .multinomial(n, np.full(n, 1 / n), REPLICATES)
        .astype(float)
    )


def _of_group(rows: pd.DataFrame, wanted: Sequence[Measure], seed: int) -> Figures:
    over, by, counts = (
        rows[[f"{part}_{i}" for i in range(len(wanted))]].fillna(0).to_numpy(float)
        for part in ("over", "by", "n")
    )
    drawn = _draws(len(rows), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_over, drawn_by = drawn @ over, drawn @ by
        ratios = drawn_over / drawn_by
    values, replicates = {}, {}
    for i, measure in enumerate(wanted):
        count = int(counts[:, i].sum())
        if measure.kind == "count":
            values[measure.name] = Figure(float(over[:, i].sum()), recordings=count)
        elif not by[:, i].sum():
            values[measure.name] = Figure(None)
        else:
            replicates[measure.name] = ratios[:, i]
            value = float(over[:, i].sum() / by[:, i].sum())
            low, high = (
                _interval(ratios[:, i]) if count >= MIN_RECORDINGS else (None, None)
            )
            values[measure.name] = Figure(value, low, high, count)
    return Figures(values, int(rows.recordings.sum()), replicates)


def _interval(replicates: np.ndarray) -> tuple[float | None, float | None]:
    """95 %; none where all replicates are alike: five calls without an episode do not say that there are none."""
    finite = replicates[np.isfinite(replicates)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (0.0, 0.0)
    return (float(low), float(high)) if low < high else (None, None)


def _column(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    columns = [
        row[0]
        for row in connection.execute(
            "SELECT column_name FROM (DESCRIBE calls)"
        ).fetchall()
    ]
    if name not in columns:
        raise UsageError(
            f"--by {name}: there is no such column; there are {', '.join(groupable(connection))}"
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

"""Compare the rows of two results directories."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ser_batch.results.schemas import TABLES
from tests.support.tables import read_table

KEYS = {
    "recordings": ("recording_id",),
    "speech": ("recording_id", "channel", "start_s"),
    "segments": ("recording_id", "segment"),
}
TOLERANCE = 1e-4
CLEAR = 2e-4
"""Margin between the two best probabilities, below which labels may differ."""


def differences(
    one: Path,
    other: Path,
    only: Collection[str] | None = None,
    abstain_below: float = 0,
) -> Iterator[str]:
    """Yield the differences between the rows of two directories.

    Compares all columns except `analyzed_at`, floats up to 1e-4, and labels where they
    are clear. `only` restricts the comparison to some recordings.
    """
    for table in TABLES:
        a, b = (_ordered(directory, table, only) for directory in (one, other))
        if list(a) != list(b):
            yield (
                f"{table}: {sorted(a.keys() - b.keys())} are missing, "
                f"{sorted(b.keys() - a.keys())} are new"
            )
            continue
        for key, row in a.items():
            for column, value in row.items():
                same = _same(value, b[key][column])
                if not same and not (
                    column == "label" and _unclear(row, abstain_below)
                ):
                    yield f"{table} {key}: {column} is {value!r} and {b[key][column]!r}"


def _ordered(
    directory: Path, table: str, only: Collection[str] | None
) -> dict[tuple, dict[str, Any]]:
    rows = (
        read_table(directory, table)
        .drop_columns(["analyzed_at"] if table == "recordings" else [])
        .to_pylist()
    )
    rows = [row for row in rows if only is None or row["recording_id"] in only]
    keyed = {tuple(row[name] for name in KEYS[table]): row for row in rows}
    assert len(keyed) == len(rows), f"{table}: a row is duplicated"
    return dict(sorted(keyed.items()))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= TOLERANCE or (a != a and b != b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _unclear(segment: dict[str, Any], abstain_below: float) -> bool:
    second, best = sorted(
        value for name, value in segment.items() if name.startswith("p_")
    )[-2:]
    return best - second <= CLEAR or abs(best - abstain_below) <= TOLERANCE


def assert_close(one: Any, other: Any, where: str = "") -> None:
    """Check that two trees of plain values are the same, numbers up to 1e-6.

    Raises:
        AssertionError: They are not.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for name, value in one.items():
            assert_close(value, other[name], f"{where}.{name}")
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_close(a, b, f"{where}[{number}]")
    elif isinstance(one, float) and isinstance(other, float):
        assert abs(one - other) <= 1e-6, f"{where}: {one} and {other}"
    else:
        assert one == other, where

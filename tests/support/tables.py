"""Read the live rows of results."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ser_batch.results.manifest import read_manifest
from ser_batch.results.results import read_stably


def read_table(
    directory: Path, table: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of a table, even while a run is writing."""
    return read_stably(directory, lambda results: results.read(table, columns))


def live_file(directory: Path, table: str, part: str) -> Path:
    """Return the file of a live part."""
    return read_manifest(directory).file(directory, table, part)


def tables(directory: Path) -> dict[str, list[dict]]:
    """Return all rows in a fixed order, rounded to 3 digits, without `analyzed_at`."""
    result = {}
    for name in ("recordings", "speech", "segments"):
        rows = read_table(directory, name).to_pylist()
        for row in rows:
            row.pop("analyzed_at", None)
            for key, value in row.items():
                if isinstance(value, float):
                    row[key] = round(value, 3)
        result[name] = sorted(
            rows,
            key=lambda row: str(
                [row["recording_id"], row.get("start_s"), row.get("channel")]
            ),
        )
    return result

"""The live rows of results, as the tests read them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ser_batch.results.manifest import read_manifest
from ser_batch.results.results import read_stably


def read_table(directory: Path, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a table, also while a run is writing."""
    return read_stably(directory, lambda results: results.read(table, columns))


def live_file(directory: Path, table: str, part: str) -> Path:
    """Return the file of a live part."""
    return read_manifest(directory).file(directory, table, part)

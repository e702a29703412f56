"""The live rows of a results directory in DuckDB, which reads Parquet out of core."""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.manifest import Manifest
from ser_batch.results import part_file

MEMORY = "600MB"
"""What DuckDB may hold at once; what is more goes to a temporary folder."""


def read_manifest(directory: Path) -> Manifest:
    """What the directory says of its live parts.

    Raises:
        ResultsError: it holds no results.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        raise ResultsError(f"{directory}: holds no results (no manifest.json); `ser analyze ... --out` makes them")
    return manifest


@contextmanager
def connect() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own, which reaches no network and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="ser-report-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": spill,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
        }
        connection = duckdb.connect(config=config)
        try:
            yield connection
        finally:
            connection.close()


def parquet_files(directory: Path, table: str, parts: Sequence[str]) -> list[str]:
    """The files of some parts, as DuckDB's `read_parquet` takes them: what looks like a pattern is none."""
    return [glob.escape(str(part_file(directory, table, part))) for part in parts]


def arrow(connection: duckdb.DuckDBPyConnection, query: str, values: Any = None) -> pa.Table:
    """What a query gives, as an Arrow table."""
    return connection.sql(query, params=values).to_arrow_table()


def rows_of(connection: duckdb.DuckDBPyConnection, query: str, values: Any = None) -> list[dict[str, Any]]:
    """What a query gives, as plain values."""
    return arrow(connection, query, values).to_pylist()


def quoted(name: str) -> str:
    """A column's name in SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"

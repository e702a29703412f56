"""Access to the rows of results with DuckDB, which reads Parquet out of core."""

import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.results.reading import ResultsChanged
from ser_batch.results.results import Results
from ser_batch.text import printable

MEMORY = "600MB"
"""Memory limit of DuckDB, which spills the rest to a temporary folder."""


@contextmanager
def connect() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database that does not use the network and leaves no files behind."""
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


def scan_sql(results: Results, table: str, parts: Sequence[str] | None = None) -> str:
    """Return a table of results as SQL to select from: all live parts, or some.

    Paths that look like a glob pattern, or like `column=value`, are taken literally.

    Raises:
        ResultsError: the directory's name is not valid UTF-8, as DuckDB requires.
    """
    try:
        names = [
            glob.escape(os.fsencode(file).decode())
            for file in results.files(table, parts)
        ]
    except UnicodeDecodeError as error:
        name = printable(str(results.directory))
        raise ResultsError(
            f"{name}: reports need a directory name that is valid UTF-8; rename it",
            path=results.directory,
        ) from error
    files = ", ".join(map(literal, names))
    return f"read_parquet([{files}], hive_partitioning = false)"


@contextmanager
def translated_errors(results: Results) -> Iterator[None]:
    """Translate DuckDB's file errors.

    Raises:
        ResultsError: a part is damaged or missing; or (`ResultsChanged`) a run has
            replaced it in the meantime.
    """
    try:
        yield
    except (
        duckdb.IOException,
        duckdb.InvalidInputException,
        duckdb.SerializationException,
    ) as error:
        if isinstance(changed := results.missing_part(), ResultsChanged):
            raise changed from error
        raise results.unreadable(error) from error


def arrow(
    connection: duckdb.DuckDBPyConnection, query: str, values: Any = None
) -> pa.Table:
    """Return the rows of a query as an Arrow table."""
    return connection.sql(query, params=values).to_arrow_table()


def rows_of(
    connection: duckdb.DuckDBPyConnection, query: str, values: Any = None
) -> list[dict[str, Any]]:
    """Return the rows of a query as plain values."""
    return arrow(connection, query, values).to_pylist()


def quoted(name: str) -> str:
    """Quote a column's name for SQL, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text as an SQL literal, whatever it contains."""
    return "'" + text.replace("'", "''") + "'"

"""The live rows of a results directory in DuckDB, which reads Parquet out of core."""

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.manifest import read_manifest
from ser_batch.parts import part_crc32, part_file
from ser_batch.recordings import shown

MEMORY = "600MB"
"""What DuckDB may hold at once; what is more goes to a temporary folder."""


_VERIFY = "`ser verify` says more, and with --repair puts it aside, so that the next run makes it again"


class ResultsChanged(ResultsError):
    """A run has replaced parts while they were being read."""


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


def scan(directory: Path, table: str, parts: Sequence[str]) -> str:
    """Some parts of a table, as SQL to select from.

    Names that look like a pattern, or like `column=value`, are just names.

    Raises:
        ResultsError: the directory's name is no text that DuckDB can open.
    """
    try:
        files = [glob.escape(os.fsencode(part_file(directory, table, part)).decode()) for part in parts]
    except UnicodeDecodeError as error:
        raise ResultsError(
            f"{shown(str(directory))}: reports need a directory whose name is UTF-8: rename it"
        ) from error
    return f"read_parquet([{', '.join(map(literal, files))}], hive_partitioning = false)"


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """What DuckDB cannot read becomes an error of ours.

    Raises:
        ResultsError: a part is damaged or missing; or (`ResultsChanged`) a run has replaced it in the meantime.
    """
    before = read_manifest(directory)
    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException) as error:
        if read_manifest(directory).parts != before.parts:
            raise ResultsChanged(f"{directory}: a run has replaced what was being read; run the same again") from error
        raise ResultsError(f"{directory}: a part is damaged or missing ({error}); {_VERIFY}") from error


def check_parts(directory: Path, parts: Mapping[str, Mapping[str, int]]) -> None:
    """That the files of all parts are those that were written: DuckDB does not look at checksums.

    Raises:
        ResultsError: one is damaged or missing; or (`ResultsChanged`) a run has replaced it in the meantime.
    """

    def check(part: str) -> None:
        try:
            damaged = part_crc32(directory, part) != parts[part].get("crc32", -1)
        except OSError as error:
            if read_manifest(directory).parts != parts:
                raise ResultsChanged(
                    f"{directory}: a run has replaced what was being read; run the same again"
                ) from error
            raise ResultsError(f"{directory}: {part} cannot be read ({error.strerror}); {_VERIFY}") from error
        if damaged and "crc32" in parts[part]:
            raise ResultsError(f"{directory}: {part} is damaged (its checksum differs); {_VERIFY}")

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(check, parts):
            pass


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

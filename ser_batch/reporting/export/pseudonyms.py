"""Pseudonymous copies of results: keyed hashes instead of file names."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa

from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.figures.database import arrow
from ser_batch.results.name_hashes import hashed_path, hasher
from ser_batch.results.profiles import profile_name, read_results_profile
from ser_batch.results.schemas import TABLES, table_schemas
from ser_batch.results.writing import open_writer

KEPT_OF_THE_RECORD = (
    "ser_version",
    "started_at",
    "finished_at",
    "model",
    "config_hash",
    "device",
    "versions",
    "counts",
)
"""Keys of `run.json` that name no files."""


def write_results(selection: Selection, folder: Path, key: bytes | None = None) -> None:
    """Write the selected rows as a new results directory.

    With a key, file names are hashed, and anything that might contain one is left out:
    call metadata, the inputs and options in `run.json`, and the error messages of
    libraries (`error_detail`; `error` itself never names a file).
    """
    results, schemas = selection.results, table_schemas(selection.labels)
    hashed = hasher(key) if key else None

    def parts() -> Iterator[dict[str, pa.Table]]:
        for part in results.parts:
            tables = {
                table: arrow(
                    selection.connection, f"FROM {selection.rows(table, [part])}"
                ).cast(schemas[table])
                for table in TABLES
            }
            yield _pseudonymous(tables, hashed) if hashed else tables

    with open_writer(folder, results.identity) as writer:
        profile = read_results_profile(results.directory, results.identity)
        if profile is not None:
            # The sample consists of ids derived from paths.
            profile = replace(profile, sample=()) if hashed else profile
            profile.write(folder / profile_name(profile.profile_id))
        writer.parts.replace(set(), parts())
        writer.parts.forget_others()
        record = results.run_record
        kept = {name: record[name] for name in KEPT_OF_THE_RECORD if name in record}
        if kept:
            writer.write_record(kept)
    (folder / ".lock").unlink(missing_ok=True)


def _pseudonymous(
    tables: dict[str, pa.Table], hashed: Callable[[str], str]
) -> dict[str, pa.Table]:
    """Return the tables with names replaced by hashes, and without free text."""
    columns: dict[str, Callable[[str], str | None]] = {
        "recording_id": hashed,
        "duplicate_of": hashed,
        "input_root": hashed,
        "path": lambda path: hashed_path(path, hashed),
        "location": lambda path: hashed_path(path, hashed),
        "error_detail": lambda detail: None,
    }
    recordings = _without_names(tables["recordings"], "notes")
    tables = tables | {"recordings": _without_names(recordings, "error")}
    return {name: _mapped(table, columns) for name, table in tables.items()}


def _without_names(recordings: pa.Table, column: str) -> pa.Table:
    """Return the recordings with their own names removed from a text column."""
    rows = recordings.select(["path", "input_root", column]).to_pylist()
    texts = [_struck_out(row[column], row["path"], row["input_root"]) for row in rows]
    at = recordings.schema.get_field_index(column)
    field = recordings.schema.field(at)
    return recordings.set_column(at, field, pa.array(texts, pa.string()))


def _struck_out(text: str | None, path: str, root: str) -> str | None:
    if text is None:
        return None
    parts = [*PurePosixPath(path).parts, *PurePosixPath(root).parts]
    stems = (PurePosixPath(part).stem for part in parts)
    names = {path, root, f"{root}/{path}", *parts, *stems}
    # Longest first, before shorter names that are part of them. Names of one or two
    # characters would also match ordinary text.
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 2:
            text = text.replace(name, "...")
    return text


def _mapped(
    table: pa.Table, columns: dict[str, Callable[[str], str | None]]
) -> pa.Table:
    for column, change in columns.items():
        if column in table.column_names:
            at = table.column_names.index(column)
            changed = pa.array(
                [None if x is None else change(x) for x in table[column].to_pylist()],
                pa.string(),
            )
            table = table.set_column(at, table.schema.field(column), changed)
    return table

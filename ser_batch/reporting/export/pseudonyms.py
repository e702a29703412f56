"""A copy of results with pseudonyms: keyed hashes in place of file names.

A plain hash would not do: who knows how names are built, say from telephone numbers, hashes all of them and compares.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

import pyarrow as pa

from ser_batch.errors import UsageError
from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.figures.database import arrow
from ser_batch.results.profiles import profile_name, read_results_profile
from ser_batch.results.schemas import TABLES, table_schemas
from ser_batch.results.writing import open_writer
from ser_batch.storage.local import LocalStorage

KEY_BYTES = 32
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
"""What of `run.json` names no file."""


def load_key(path: Path) -> bytes:
    """Return the key in a file; make one, for its owner's eyes alone, if it is new.

    Raises:
        UsageError: the file cannot be read or made, or holds no key.
    """
    storage, key = LocalStorage(path.parent), secrets.token_bytes(KEY_BYTES)
    try:
        if storage.create(path.name, f"{key.hex()}\n".encode()):
            return key
        text = storage.read(path.name).decode("ascii").strip()
        if len(text) != 2 * KEY_BYTES:
            raise ValueError
        return bytes.fromhex(text)
    except OSError as error:
        raise UsageError(
            f"--hash-paths {path}: the key cannot be read or made there: {error.strerror}",
            path=path,
            option="--hash-paths",
        ) from error
    except ValueError:
        raise UsageError(
            f"--hash-paths {path}: not a key ({2 * KEY_BYTES} hexadecimal digits); name "
            "a file that is not there yet, and a key is made",
            path=path,
            option="--hash-paths",
        ) from None


def hasher(key: bytes) -> Callable[[str], str]:
    """Turns names into 16 hexadecimal digits each: BLAKE2b with the key (RFC 7693). The same name, the same digits."""

    @cache
    def hashed(name: str) -> str:
        return hashlib.blake2b(name.encode(), key=key, digest_size=8).hexdigest()

    return hashed


def hashed_path(path: str, hashed: Callable[[str], str]) -> str:
    """A path with each of its names hashed: one folder stays one. An ending may be a name: none is kept."""
    return "/".join(hashed(name) for name in PurePosixPath(path).parts)


def write_results(selection: Selection, folder: Path, key: bytes | None = None) -> None:
    """Write the selected rows as a results directory of their own.

    With a key, file names are hashed, and what might hold one is left out: call
    metadata, the inputs and options of `run.json`, and libraries' own words on failures
    (`error_detail`; `error` itself never names a file).
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
            # What it was drawn from are ids of paths.
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
    """Return the tables with hashes in place of names, and without free text."""
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
    """Return the recordings with their own names struck out of a column of text."""
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

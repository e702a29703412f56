"""Pseudonymous copies of results: keyed hashes instead of file names.

A plain hash would not be enough: anyone who knows how names are built, for example from
telephone numbers, could hash every candidate and compare.
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
"""Keys of `run.json` that name no files."""


def load_key(path: Path) -> bytes:
    """Return the key in a file; create it, readable by its owner only, if it is new.

    Raises:
        UsageError: the file cannot be read or created, or does not contain a key.
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
            f"--hash-paths {path}: cannot read or create the key: {error.strerror}",
            path=path,
            option="--hash-paths",
        ) from error
    except ValueError:
        raise UsageError(
            f"--hash-paths {path}: not a key ({2 * KEY_BYTES} hexadecimal digits); to "
            "create one, name a file that does not exist yet",
            path=path,
            option="--hash-paths",
        ) from None


def hasher(key: bytes) -> Callable[[str], str]:
    """Return a function that hashes names: BLAKE2b with the key (RFC 7693).

    A hash has 16 hexadecimal digits; equal names have equal hashes.
    """

    @cache
    def hashed(name: str) -> str:
        return hashlib.blake2b(name.encode(), key=key, digest_size=8).hexdigest()

    return hashed


def hashed_path(path: str, hashed: Callable[[str], str]) -> str:
    """Return a path with each part hashed, so that a folder's files stay together.

    File extensions are not kept, since they may be part of a name.
    """
    return "/".join(hashed(name) for name in PurePosixPath(path).parts)


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

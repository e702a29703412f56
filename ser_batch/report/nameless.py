"""A copy of results that may leave the building: keyed hashes stand where names of files were.

A plain hash would not do: who knows how names are built, say from telephone numbers, hashes all of them and compares.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

import pyarrow as pa

from ser_batch.errors import UsageError
from ser_batch.manifest import read_manifest
from ser_batch.report.database import arrow
from ser_batch.report.exported import Source
from ser_batch.results import open_results
from ser_batch.schemas import TABLES, table_schemas

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
    """The key in a file; a new one, readable by its owner alone, where there is no such file.

    Raises:
        UsageError: the file cannot be read or made, or holds no key.
    """
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            text = path.read_text(encoding="ascii").strip()
            if len(text) != 2 * KEY_BYTES:
                raise ValueError from None
            return bytes.fromhex(text)
        key = secrets.token_bytes(KEY_BYTES)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(key.hex() + "\n")
        except OSError:
            path.unlink()
            raise
        return key
    except OSError as error:
        raise UsageError(f"--hash-paths {path}: the key cannot be read or made there: {error.strerror}") from error
    except ValueError:
        raise UsageError(
            f"--hash-paths {path}: is no key of ours ({2 * KEY_BYTES} hexadecimal digits); name a file that is not "
            "there yet, and a key is made"
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


def write_results(source: Source, folder: Path, key: bytes | None = None) -> None:
    """Writes the selected rows as a results directory of their own; with a key, names are hashed.

    Call metadata are left out: they may hold any name. So are the inputs and the options of `run.json`. What is said of
    errors is freed of names that a library may have put there.
    """
    hashed = hasher(key) if key else None
    schemas = table_schemas(source.labels)
    names: dict[str, Callable[[str], str]] = {}
    if hashed:
        names = {"recording_id": hashed, "input_root": hashed, "path": lambda path: hashed_path(path, hashed)}

    def parts() -> Iterator[dict[str, pa.Table]]:
        for part in source.parts:
            tables = {table: arrow(source.connection, f"FROM {source.rows(table, [part])}") for table in TABLES}
            if hashed:
                tables["recordings"] = _discreet(tables["recordings"])
            yield {table: _renamed(rows.cast(schemas[table]), names) for table, rows in tables.items()}

    with open_results(folder, read_manifest(source.directory).identity) as writer:
        writer.append(parts())
        record = source.directory / "run.json"
        with suppress(FileNotFoundError, ValueError):  # none there, or a damaged one
            values = json.loads(record.read_text(encoding="utf-8"))
            writer.write_record({name: values[name] for name in KEPT_OF_THE_RECORD if name in values})
    (folder / ".lock").unlink(missing_ok=True)


def _discreet(recordings: pa.Table) -> pa.Table:
    """The recordings without names in their errors and notes."""
    rows = recordings.select(["path", "input_root", "error", "notes"]).to_pylist()
    for column in ("error", "notes"):
        said = pa.array([_without_names(row[column], row["path"], row["input_root"]) for row in rows], pa.string())
        recordings = recordings.set_column(recordings.column_names.index(column), column, said)
    return recordings


def _without_names(said: str | None, path: str, root: str) -> str | None:
    """A text without the names of a recording, and without what an error that nobody foresaw says besides its kind."""
    if said is None:
        return None
    said = re.sub(r"(please report it: \w+).*", r"\1", said, flags=re.DOTALL)
    parts = [*PurePosixPath(path).parts, *PurePosixPath(root).parts]
    names = {path, root, f"{root}/{path}", *parts, *(PurePosixPath(part).stem for part in parts)}
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 2:
            said = said.replace(name, "...")
    return said


def _renamed(table: pa.Table, names: dict[str, Callable[[str], str]]) -> pa.Table:
    for column, rename in names.items():
        if column in table.column_names:
            at = table.column_names.index(column)
            renamed = pa.array([None if x is None else rename(x) for x in table[column].to_pylist()], pa.string())
            table = table.set_column(at, table.schema.field(column), renamed)
    return table

"""The live parts of a results directory, read: whole tables, or what is known of each recording."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.manifest import Identity, Manifest, crc32_of, read_manifest
from ser_batch.schemas import TABLES, table_schemas


@dataclass(frozen=True, slots=True)
class Known:
    """What the results already hold of a recording; size and time are None where the file had vanished."""

    input_root: str
    size_bytes: int | None
    modified_at: datetime | None
    content_hash: str | None
    failed: bool
    part: str


def check_identity(directory: Path, there: Identity, asked: Identity) -> None:
    """Raises ResultsError if rows of one kind are to be put beside those of another."""
    for what, old, new in (
        ("model", there.model_id, asked.model_id),
        ("configuration", there.config_hash, asked.config_hash),
    ):
        if old != new:
            raise ResultsError(
                f"{directory}: its rows were made with {what} {old}, and this run has {new}: rows of two kinds do not "
                "belong together. Choose a new --out, or use the options of run.json"
            )


def part_file(directory: Path, table: str, part: str) -> Path:
    """Where a part of a table lies."""
    return directory / table / f"{part}.parquet"


def part_crc32(directory: Path, part: str) -> int:
    """The CRC-32 of a part's files, one after the other. Raises OSError."""
    crc = 0
    for table in TABLES:
        crc = crc32_of(part_file(directory, table, part), crc)
    return crc


def read_known(directory: Path, identity: Identity) -> dict[str, Known]:
    """What a results directory holds of each recording, by `recording_id`; nothing if there is none yet.

    Raises:
        ResultsError: the rows are of another model or configuration, or they are damaged.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        return {}
    check_identity(directory, manifest.identity, identity)
    columns = ["recording_id", "input_root", "size_bytes", "modified_at", "content_hash", "status"]
    known = {}
    for part, tables in _read_parts(directory, {"recordings": columns}):
        for row in tables["recordings"].to_pylist():
            recording_id, status = row.pop("recording_id"), row.pop("status")
            row["input_root"] = sys.intern(row["input_root"])  # one text for a hundred thousand recordings
            known[recording_id] = Known(**row, failed=status == "failed", part=part)
    return known


def read_tables(directory: Path, columns: Mapping[str, Sequence[str] | None]) -> dict[str, pa.Table]:
    """The live rows of some tables, also while a run is writing: all of them of the same instant.

    `columns` names the tables and the columns of each; None stands for all.

    Raises:
        ResultsError: the directory holds no results, or they are damaged.
    """
    manifest = read_manifest(directory)
    parts = [tables for _, tables in _read_parts(directory, columns)]
    result = {}
    for name, wanted in columns.items():
        schema = table_schemas(manifest.identity.labels)[name]
        schema = schema if wanted is None else pa.schema([schema.field(column) for column in wanted])
        result[name] = pa.concat_tables([schema.empty_table(), *(tables[name] for tables in parts)])
    return result


def read_table(directory: Path, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The live rows of one table, as `read_tables`."""
    return read_tables(directory, {table: columns})[table]


def _read_parts(directory: Path, columns: Mapping[str, Sequence[str] | None]) -> list[tuple[str, dict[str, pa.Table]]]:
    """The live parts by name, each with the columns asked for."""
    for _ in range(5):
        manifest = Manifest.read(directory)
        if manifest is None:
            return []
        try:
            return [
                (
                    part,
                    {
                        name: pq.read_table(
                            part_file(directory, name, part), columns=c, page_checksum_verification=True
                        )
                        for name, c in columns.items()
                    },
                )
                for part in manifest.parts
            ]
        except FileNotFoundError:
            continue  # a run has replaced the part since the manifest was read: read both again
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise ResultsError(
                f"{directory}: a part is damaged ({error}); `ser verify` says which, and --repair puts it aside"
            ) from error
    raise ResultsError(
        f"{directory}: parts that manifest.json names are missing; `ser verify --repair` takes them off the list"
    )

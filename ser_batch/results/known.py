"""The recordings that are already in the results."""

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int

from ser_batch.results.lookup import Lookup
from ser_batch.results.manifest import Identity, Manifest, check_identity
from ser_batch.results.reading import read_parts
from ser_batch.results.schemas import table_schemas
from ser_batch.sources.source import Stamp

COLUMNS = (
    "recording_id", "path", "input_root", "location", "size_bytes", "modified_at",
    "etag", "content_hash", "status", "duplicate_of",
)  # fmt: skip
PARTS_TOGETHER = 64
_REPEATED = ("input_root", "status", "part")
_FIELDS = [table_schemas(())["recordings"].field(name) for name in COLUMNS]
_NONE = pa.schema([*_FIELDS, pa.field("part", pa.string())]).empty_table()


@dataclass(frozen=True, slots=True)
class KnownRecording:
    """A recording's row in brief; size and time are None if the file had vanished."""

    path: str
    input_root: str
    location: str
    size_bytes: int | None
    modified_at: datetime | None
    etag: str | None
    content_hash: str | None
    failed: bool
    duplicate_of: str | None
    """The id of the recording that this is a copy of."""
    part: str

    def has(self, stamp: Stamp | None) -> bool:
        """Return whether this was the file's stamp when it was analysed."""
        if stamp is None:
            return self.size_bytes is None or self.modified_at is None
        return (self.size_bytes, self.modified_at, self.etag or "") == (
            stamp.size_bytes,
            stamp.modified_at,
            stamp.etag,
        )


class Known:
    """The recordings in the results, by id.

    Millions of them are columns, not objects. Whatever is set or deleted is kept beside
    the columns as they were read.
    """

    def __init__(self, rows: pa.Table | None = None) -> None:
        """Take the rows with `COLUMNS` and `part`; None for none."""
        self._rows = _NONE if rows is None else rows
        self._set: dict[str, KnownRecording] = {}
        self._deleted: set[str] = set()
        self._new = 0

    def __len__(self) -> int:
        return len(self._rows) - len(self._deleted) + self._new

    def __contains__(self, recording_id: object) -> bool:
        return recording_id in self._set or self._row(recording_id) >= 0

    def __getitem__(self, recording_id: str) -> KnownRecording:
        own = self.get(recording_id)
        if own is None:
            raise KeyError(recording_id)
        return own

    def get(self, recording_id: str) -> KnownRecording | None:
        """Return a recording; None if there is none with this id."""
        own, row = self._set.get(recording_id), self._row(recording_id)
        if own is not None or row < 0:
            return own
        [(_, own)] = _each(self._rows.slice(row, 1))
        return own

    def __setitem__(self, recording_id: str, own: KnownRecording) -> None:
        self._new += recording_id not in self
        self._set[recording_id] = own

    def __delitem__(self, recording_id: str) -> None:
        if recording_id not in self:
            raise KeyError(recording_id)
        if self._row(recording_id) >= 0:
            self._deleted.add(recording_id)
        else:
            self._new -= 1
        self._set.pop(recording_id, None)

    def items(self) -> Iterator[tuple[str, KnownRecording]]:
        """Yield all recordings with their ids."""
        for rows in self._rows.to_batches():
            for recording_id, own in _each(rows):
                if recording_id not in self._deleted:
                    yield recording_id, self._set.get(recording_id, own)
        for recording_id, own in self._set.items():
            if self._row(recording_id) < 0:
                yield recording_id, own

    def _row(self, recording_id: object) -> int:
        """Return the row of an id as it was read; -1 if there is none, or no more."""
        if not isinstance(recording_id, str) or recording_id in self._deleted:
            return -1
        return self._by_id.row(recording_id)

    @cached_property
    def _by_id(self) -> Lookup:
        return Lookup(self._rows["recording_id"])

    # What follows is about the rows as they were read.

    @cached_property
    def _by_location(self) -> Lookup:
        return Lookup(self._rows["location"])

    def at(self, location: str) -> str | None:
        """Return the id of the recording at a location, if there is one."""
        return self.id_of(self._by_location.row(location))

    @cached_property
    def linked(self) -> dict[str, str]:
        """Ids by the path below the input, where that contains links."""
        rows = self._rows
        roots = rows["input_root"].cast(pa.string())
        below = pc.binary_join_element_wise(roots, rows["path"], "/")
        linked = rows.filter(pc.not_equal(below, rows["location"]))
        names = {i: os.path.join(own.input_root, own.path) for i, own in _each(linked)}
        return {name: i for i, name in names.items() if name != self[i].location}

    def rows_at(self, locations: Sequence[str]) -> Int[np.ndarray, " locations"]:
        """Return the row of the recording at each location; -1 where there is none."""
        return self._by_location.rows(locations)

    def id_of(self, row: int) -> str | None:
        """Return the id in a row; None if `row` is negative."""
        return None if row < 0 else self._rows["recording_id"][row].as_py()

    def unchanged(
        self, rows: Int[np.ndarray, " files"], stamps: Sequence[Stamp | None]
    ) -> Bool[np.ndarray, " files"]:
        """Return which files were analysed when they had the same stamp.

        Copies and failed recordings do not count.
        """
        sizes = [stamp.size_bytes if stamp else -1 for stamp in stamps]
        times = [stamp.modified_us if stamp else -1 for stamp in stamps]
        same = (self._sizes[rows] == sizes) & (self._times[rows] == times)
        tags = [hash(stamp.etag) if stamp else 0 for stamp in stamps]
        if any(tags) or self._tags.any():
            same &= self._tags[rows] == tags
        unchanged = (rows >= 0) & same & self._done[rows]
        self._seen[rows[unchanged]] = True
        return unchanged

    def seen(self, recording_id: str) -> bool:
        """Return whether a recording was found to be unchanged."""
        row = self._by_id.row(recording_id)
        return row >= 0 and bool(self._seen[row])

    def count_of_size(self, size_bytes: int) -> int:
        """Return how many recordings have a size."""
        first, last = (
            np.searchsorted(self._sorted_sizes, size_bytes, side)
            for side in ("left", "right")
        )
        return int(last - first)

    def of_content(self, hashes: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield content hash and id of the recordings, except copies, with these."""
        rows = self._rows
        wanted = pc.is_in(rows["content_hash"], pa.array(hashes, pa.string()))
        for recording_id, own in _each(rows.filter(wanted)):
            if not own.duplicate_of:
                yield own.content_hash or "", recording_id

    # One row more than there are, for files without one: row -1.

    @cached_property
    def _sizes(self) -> np.ndarray:
        return _integers(self._rows["size_bytes"])

    @cached_property
    def _sorted_sizes(self) -> np.ndarray:
        return np.sort(self._sizes)

    @cached_property
    def _times(self) -> np.ndarray:
        return _integers(self._rows["modified_at"])  # in microseconds

    @cached_property
    def _tags(self) -> np.ndarray:
        column = self._rows["etag"]
        if column.null_count == len(column):
            return np.zeros(len(column) + 1, np.int64)
        return np.array([*map(hash, pc.fill_null(column, "").to_pylist()), 0])

    @cached_property
    def _done(self) -> np.ndarray:
        done = pc.equal(self._rows["status"].cast(pa.string()), "done")
        return np.append(done.to_numpy(), False)

    @cached_property
    def _seen(self) -> np.ndarray:
        return np.zeros(len(self._rows) + 1, bool)


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    return np.append(pc.fill_null(column.cast(pa.int64()), -1).to_numpy(), -1)


def _each(rows: pa.Table) -> Iterator[tuple[str, KnownRecording]]:
    # Column by column, without a dictionary for each of many rows.
    columns = [rows.column(name).to_pylist() for name in (*COLUMNS, "part")]
    for recording_id, path, root, location, size, at, etag, content, *rest in zip(
        *columns, strict=True
    ):
        status, of, part = rest
        yield (
            recording_id,
            KnownRecording(
                path=path,
                # Many recordings share their root, so keep one copy of the string.
                input_root=sys.intern(root),
                location=location,
                size_bytes=size,
                modified_at=at,
                etag=etag,
                content_hash=content,
                failed=status == "failed",
                duplicate_of=of,
                part=part,
            ),
        )


def read_known(directory: Path, identity: Identity) -> Known:
    """Return the recordings in a results directory, by id; none if it is new.

    Raises:
        ResultsError: the rows are of another model or configuration, or are damaged.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        return Known()
    check_identity(directory, manifest.identity, identity)
    return known_recordings(directory, manifest)


def known_recordings(directory: Path, manifest: Manifest) -> Known:
    """Return the recordings in the parts of a manifest, by id.

    Raises:
        ResultsError: a part is damaged; or (`ResultsChanged`) it has been replaced.
    """
    tables, parts = [_NONE], list[pa.Table]()
    for part, rows in read_parts(directory, manifest, "recordings", COLUMNS):
        parts.append(rows.append_column("part", pa.array([part] * len(rows))))
        if len(parts) == PARTS_TOGETHER:
            # So that the next ones reuse the memory of these many small columns.
            tables.append(pa.concat_tables(parts).combine_chunks())
            parts.clear()
            pa.default_memory_pool().release_unused()
    tables.extend(parts)
    parts.clear()
    return Known(_joined(tables))


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables with each column in one piece; empty the tables."""
    columns = {}
    for name in _NONE.column_names:
        chunks = (chunk for table in tables for chunk in table[name].chunks)
        column = pa.chunked_array(chunks, _NONE.schema.field(name).type)
        if name in _REPEATED:
            column = column.dictionary_encode()
        columns[name] = column.combine_chunks()
        # Column by column, so that the rows are never in memory twice.
        tables[:] = [table.drop_columns(name) for table in tables]
    return pa.table(columns)

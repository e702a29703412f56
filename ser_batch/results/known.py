"""The recordings that are already in the results."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.garbage import collection_paused
from ser_batch.results.manifest import Identity, Manifest, check_identity
from ser_batch.sources.source import Stamp

COLUMNS = (
    "recording_id", "path", "input_root", "location", "size_bytes", "modified_at",
    "content_hash", "status", "duplicate_of",
)  # fmt: skip


class ResultsChanged(ResultsError):
    """A run has replaced parts while they were being read."""


@dataclass(frozen=True, slots=True)
class KnownRecording:
    """A recording's row in brief; size and time are None if the file had vanished."""

    path: str
    input_root: str
    location: str
    size_bytes: int | None
    modified_at: datetime | None
    content_hash: str | None
    failed: bool
    duplicate_of: str | None
    """The id of the recording that this is a copy of."""
    part: str

    def has(self, stamp: Stamp | None) -> bool:
        """Return whether this was the file's stamp when it was analysed."""
        if stamp is None:
            return self.stamp is None
        size, at = self.size_bytes, self.modified_at
        return size == stamp.size_bytes and at == stamp.modified_at

    @property
    def stamp(self) -> Stamp | None:
        """The file's stamp when it was analysed; None if it had vanished."""
        if self.size_bytes is None or self.modified_at is None:
            return None
        return Stamp(self.size_bytes, self.modified_at)


def read_known(directory: Path, identity: Identity) -> dict[str, KnownRecording]:
    """Return the recordings in a results directory, by id; none if it is new.

    Raises:
        ResultsError: the rows are of another model or configuration, or are damaged.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        return {}
    check_identity(directory, manifest.identity, identity)
    return known_recordings(directory, manifest)


@collection_paused()
def known_recordings(directory: Path, manifest: Manifest) -> dict[str, KnownRecording]:
    """Return the recordings in the parts of a manifest, by id.

    Raises:
        ResultsError: a part is damaged; or (`ResultsChanged`) it has been replaced.
    """
    known = {}
    for part, table in read_parts(directory, manifest, "recordings", COLUMNS):
        # Column by column, without a dictionary for each of millions of rows.
        columns = [table.column(name).to_pylist() for name in COLUMNS]
        for recording_id, path, root, location, size, at, content, status, of in zip(
            *columns, strict=True
        ):
            known[recording_id] = KnownRecording(
                path=path,
                # Many recordings share their root, so keep one copy of the string.
                input_root=sys.intern(root),
                location=location,
                size_bytes=size,
                modified_at=at,
                content_hash=content,
                failed=status == "failed",
                duplicate_of=of,
                part=part,
            )
    return known


def read_parts(
    directory: Path,
    manifest: Manifest,
    table: str,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name and rows of each live part of a table, with the given columns.

    Raises:
        ResultsError: a part is damaged or missing; or (`ResultsChanged`) a run has
            replaced it since the manifest was read.
    """
    for part in manifest.parts:
        path = manifest.file(directory, table, part)
        wanted = None if columns is None else list(columns)
        try:
            rows = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        except FileNotFoundError as error:
            raise missing_part(directory, manifest) from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise ResultsError(
                f"{directory}: a part is damaged ({error}); `ser verify` shows which, "
                "and --repair sets it aside",
                path=path,
            ) from error
        yield part, rows


def missing_part(directory: Path, manifest: Manifest) -> ResultsError:
    """Return the error for a part that is missing: replaced by a run, or lost."""
    now = Manifest.read(directory)
    if now is None or now.parts != manifest.parts:
        return ResultsChanged(
            f"{directory}: a run has replaced what was being read; try again",
            path=directory,
        )
    return ResultsError(
        f"{directory}: parts named in manifest.json are missing; "
        "`ser verify --repair` removes them from it",
        path=directory,
    )

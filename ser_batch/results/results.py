"""Reading a results directory: one snapshot of what is live."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.metadata.gathering import MetadataInputs, gather_metadata
from ser_batch.results.known import Known, known_recordings
from ser_batch.results.manifest import (
    RUN_RECORD,
    Identity,
    Manifest,
    read_manifest,
)
from ser_batch.results.reading import (
    ResultsChanged,
    missing_part,
    part_files,
    read_parts,
)
from ser_batch.results.schemas import table_schemas
from ser_batch.results.writing import ResultsWriter, open_writer
from ser_batch.storage.checkout import name_of, storage_of

TRIES = 5
METADATA = "metadata/metadata.parquet"
LABELS = "metadata/labels.json"
_VERIFY = (
    "`ser verify` shows more, and with --repair sets it aside, so that the next run "
    "recreates it"
)

T = TypeVar("T")


def open_results(directory: Path | str) -> "Results":
    """Return a snapshot of what is live in a results directory now.

    Raises:
        ResultsError: it contains no results, or they are damaged.
    """
    directory = Path(directory)
    return Results(directory, read_manifest(directory))


def read_stably(directory: Path | str, read: Callable[["Results"], T]) -> T:
    """Return the value of `read` for a snapshot.

    If a run has replaced parts meanwhile, it is called again with a new snapshot.

    Raises:
        ResultsError: raised by `read`, or the directory changes faster than it can be
            read.
    """
    for _ in range(TRIES):
        try:
            return read(open_results(directory))
        except ResultsChanged:
            continue
    raise ResultsError(
        f"{directory}: changes faster than it can be read; wait until the run ends",
        path=directory,
    )


class Results:
    """The rows that were live when this was created by `open_results`.

    All methods read the same parts, whatever runs commit meanwhile. If a run has
    removed one of them, `ResultsChanged` is raised: open the directory again.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest

    @property
    def identity(self) -> Identity:
        """Model, configuration and labels of all rows."""
        return self.manifest.identity

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, in the order of its probabilities."""
        return self.identity.labels

    @property
    def model_id(self) -> str:
        """Name and fingerprint of the model."""
        return self.identity.model_id

    @property
    def name(self) -> str:
        """The directory, or its address in an object store."""
        return name_of(self.directory)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the live parts, in order."""
        return tuple(self.manifest.parts)

    def folder(self, table: str) -> Path:
        """Return the folder of a table in this state, which no longer changes."""
        return (self.directory / self.manifest.name(table, "")).parent

    def files(self, table: str, parts: Sequence[str] | None = None) -> list[Path]:
        """Return the files of a table: of all live parts, or of some.

        Raises:
            ResultsError: they are in an object store, and cannot be downloaded; or
                (`ResultsChanged`) they are no longer there.
        """
        parts = self.parts if parts is None else parts
        return part_files(self.directory, self.manifest, table, parts)

    def scan(
        self, table: str, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows of a table, part by part, with the given columns.

        Raises:
            ResultsError: a part is damaged; or (`ResultsChanged`) it is gone.
        """
        for _, rows in read_parts(self.directory, self.manifest, table, columns):
            yield rows

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows of a table; for errors, see `scan`."""
        schema = table_schemas(self.labels)[table]
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        return pa.concat_tables([schema.empty_table(), *self.scan(table, columns)])

    def recordings(self) -> pd.DataFrame:
        """Return one row for each recording, including failed ones."""
        return self.read("recordings").to_pandas()

    def speech(self) -> pd.DataFrame:
        """Return one row for each speech region of every channel, scored or not."""
        return self.read("speech").to_pandas()

    def segments(self) -> pd.DataFrame:
        """Return one row for each scored segment."""
        return self.read("segments").to_pandas()

    @cached_property
    def known(self) -> Known:
        """Each recording's row in brief, by `recording_id`."""
        return known_recordings(self.directory, self.manifest)

    @cached_property
    def run_record(self) -> dict[str, Any]:
        """The record of the last run in `run.json`; empty if it cannot be read."""
        data = self._kept(RUN_RECORD)
        try:
            record = json.loads(data or "{}")
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def metadata(self) -> pd.DataFrame | None:
        """The call metadata kept with the results; None if there is none.

        Raises:
            ResultsError: it is damaged.
        """
        path = self.directory / METADATA
        advice = "remove it, and provide the metadata again"
        data = self._kept(METADATA)
        if data is None:
            return None
        try:
            table = pq.read_table(pa.BufferReader(data)).to_pandas()
        except (OSError, pa.ArrowException) as error:
            message = f"{path}: damaged ({error}); {advice}"
            raise ResultsError(message, path=path) from error
        if "recording_id" not in table:
            message = f"{path}: no recording_id, so not written by ser; {advice}"
            raise ResultsError(message, path=path)
        return table

    @property
    def labels_folder(self) -> Path | None:
        """The folder of labels that was named for these results; None if none was."""
        data = self._kept(LABELS)
        try:
            return Path(json.loads(data or "{}")["folder"])
        except (ValueError, KeyError, TypeError):
            return None

    def _kept(self, name: str) -> bytes | None:
        """Return what is kept with the results under a name; None if there is none.

        Raises:
            ResultsError: it cannot be read.
        """
        try:
            return storage_of(self.directory).read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{self.name}/{name}: cannot be read: {error.strerror}"
            raise ResultsError(message, path=self.directory) from error

    def keep_labels_folder(self, folder: Path) -> None:
        """Keep the name of a folder of labels with the results.

        Raises:
            ResultsError: the directory cannot be written.
        """
        text = json.dumps({"folder": str(folder.resolve())}) + "\n"
        try:
            storage_of(self.directory).put({LABELS: text.encode()})
        except OSError as error:
            path = self.directory / LABELS
            message = f"{path}: cannot be written: {error.strerror}"
            raise ResultsError(message, path=path) from error

    def keep_metadata(self, inputs: MetadataInputs) -> list[str]:
        """Gather call metadata, keep it with the results, and return the notes.

        Raises:
            UsageError: an input cannot be read.
            ResultsError: the directory cannot be written.
        """
        columns = ["recording_id", "path", "input_root"]
        recordings = self.read("recordings", columns).to_pandas()
        metadata = gather_metadata(recordings, inputs, self.metadata)
        self.write_metadata(metadata.table)
        return metadata.notes

    def write_metadata(self, metadata: pd.DataFrame) -> None:
        """Write the call metadata that is kept with the results.

        Raises:
            ResultsError: the directory cannot be written.
        """
        table = pa.Table.from_pandas(metadata, preserve_index=False)
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        try:
            storage_of(self.directory).put({METADATA: data})
        except OSError as error:
            path = self.directory / METADATA
            message = f"{path}: cannot be written: {error.strerror}"
            raise ResultsError(message, path=path) from error

    def check_checksums(self) -> None:
        """Check that the files of all parts are those that were written.

        Raises:
            ResultsError: a part is damaged or missing; or (`ResultsChanged`) a run has
                replaced it.
        """
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(self._check_part, self.parts):
                pass

    def _check_part(self, part: str) -> None:
        stated = self.manifest.parts[part].get("crc32")
        try:
            crc = self.manifest.crc32(self.directory, part)
        except OSError as error:
            if isinstance(changed := self.missing_part(), ResultsChanged):
                raise changed from error
            reason = f"cannot be read ({error.strerror})"
            raise self._damaged(f"{part} {reason}") from error
        if stated is not None and crc != stated:
            raise self._damaged(f"{part} is damaged (its checksum differs)")

    def missing_part(self) -> ResultsError:
        """Return the error for a missing part: `ResultsChanged` if a run removed it."""
        return missing_part(self.directory, self.manifest)

    def unreadable(self, reason: object) -> ResultsError:
        """Return the error for parts that a reader cannot interpret."""
        return self._damaged(f"a part is damaged or missing ({reason})")

    def _damaged(self, what: str) -> ResultsError:
        message = f"{self.directory}: {what}; {_VERIFY}"
        return ResultsError(message, path=self.directory)

    def writer(self, read: bool = True) -> AbstractContextManager[ResultsWriter]:
        """Open the directory for writing; see `open_writer`."""
        return open_writer(self.directory, self.identity, read)

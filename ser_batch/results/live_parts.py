"""The live parts of a results directory, and how they change in one step."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.results.manifest import Manifest, part_file, part_name
from ser_batch.results.schemas import TABLES, table_schemas
from ser_batch.storage.local import LocalStorage, crc32_of

BROKEN_FOLDER = "broken"
"""Where parts are put that cannot be trusted."""
_PART_OR_PARTIAL = re.compile(r"part-\d{6,}\.parquet|\.part-\d{6,}\.parquet\.partial")

Tables = dict[str, pa.Table]


class DamagedPart(ResultsError):
    """A live part cannot be read."""


class LiveParts:
    """The parts that a manifest names.

    All changes raise ResultsError where the disk is full or fails; what was live stays
    so.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest
        self.schemas = table_schemas(manifest.identity.labels)
        self._storage = LocalStorage(directory)

    def read(self, table: str, part: str) -> pa.Table:
        """Return a part as it was written.

        Raises:
            DamagedPart: it is not: what is damaged is never written anew as if it were
                whole.
        """
        path = part_file(self.directory, table, part)
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            return file.read().cast(self.schemas[table])
        except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError) as error:
            raise DamagedPart(
                f"{path}: is damaged or missing ({error}); `ser verify "
                f"{self.directory} --repair` puts it aside, and the next run makes it "
                "again",
                path=path,
            ) from error

    def replace(self, old: set[str], new: Iterable[Tables]) -> dict[str, list[str]]:
        """Put new parts in the place of old ones, in one step.

        Returns:
            The ids of the recordings in each new part. Parts without any are not made.
        """
        live = self.manifest.parts
        parts = {part: size for part, size in live.items() if part not in old}
        next_part = self.manifest.next_part
        recordings: dict[str, list[str]] = {}
        try:
            for tables in new:
                if not tables["recordings"].num_rows:
                    continue
                part = f"part-{next_part:06}"
                next_part += 1
                recordings[part] = tables["recordings"]["recording_id"].to_pylist()
                parts[part] = self._write(part, tables)
            manifest = Manifest(self.manifest.identity, next_part, parts)
            manifest.write(self.directory)
        except DamagedPart:
            self._remove_unless_live(recordings)
            raise
        except (OSError, pa.ArrowException) as error:
            self._remove_unless_live(recordings)
            reason = getattr(error, "strerror", None) or error
            raise ResultsError(
                f"{self.directory}: cannot be written: {reason}. What was committed is "
                "safe; make room (or repair the disk) and run the same command again",
                path=self.directory,
            ) from error
        self.manifest = manifest
        self._remove(set(live) - set(parts))
        return recordings

    def merge(self, groups: Iterable[Sequence[str]]) -> None:
        """Make one part of each group of parts, all at once."""
        groups = list(groups)
        tables = (
            {
                table: pa.concat_tables([self.read(table, part) for part in group])
                for table in TABLES
            }
            for group in groups
        )
        self.replace({part for group in groups for part in group}, tables)

    def drop(self, parts: Iterable[str]) -> None:
        """Take parts off the manifest, and remove their files."""
        gone = set(parts)
        kept = {p: size for p, size in self.manifest.parts.items() if p not in gone}
        manifest = Manifest(self.manifest.identity, self.manifest.next_part, kept)
        manifest.write(self.directory)
        self.manifest = manifest
        self._remove(gone)

    def keep_profile(self, profile_id: str) -> None:
        """Say which profile the rows to come are scored with; raises OSError."""
        identity = replace(self.manifest.identity, profile_id=profile_id)
        manifest = replace(self.manifest, identity=identity)
        manifest.write(self.directory)
        self.manifest = manifest

    def clear_leftovers(self) -> None:
        """Remove what a crash has left: files of parts that are not live.

        Where live files are missing, the manifest is not the last one, and a part that
        it does not name may be the only copy of its rows: then it is put aside.
        """
        doubtful = any(
            not part_file(self.directory, table, part).exists()
            for part in self.manifest.parts
            for table in TABLES
        )
        for table in TABLES:
            for path in (self.directory / table).iterdir():
                ours = _PART_OR_PARTIAL.fullmatch(path.name)
                if not ours or path.stem in self.manifest.parts:
                    continue
                if doubtful and path.suffix == ".parquet":
                    aside = self.directory / BROKEN_FOLDER / table
                    aside.mkdir(parents=True, exist_ok=True)
                    os.replace(path, aside / path.name)
                else:
                    path.unlink()

    def _write(self, part: str, tables: Tables) -> dict[str, int]:
        size = crc = 0
        for table, rows in tables.items():
            with self._storage.writing(part_name(table, part)) as file:
                pq.write_table(rows, file, compression="zstd", write_page_checksum=True)
                size += file.tell()
            crc = crc32_of(part_file(self.directory, table, part), crc)
        n_recordings = tables["recordings"].num_rows
        return {"recordings": n_recordings, "bytes": size, "crc32": crc}

    def _remove_unless_live(self, parts: Iterable[str]) -> None:
        # The error may have come just after the manifest was replaced.
        manifest = Manifest.read(self.directory)
        self._remove(set(parts) - set(manifest.parts if manifest else ()))

    def _remove(self, parts: Iterable[str]) -> None:
        for part in parts:
            for table in TABLES:
                # What cannot be removed now is removed by the next run.
                with suppress(OSError):
                    self._storage.delete(part_name(table, part))

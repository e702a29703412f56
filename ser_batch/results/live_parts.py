"""The live parts of a results directory, and changing them in one step."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.results.generations import (
    KEPT_S,
    Generation,
    point_to,
    remove_others,
)
from ser_batch.results.manifest import MANIFEST, PART_FILE, Identity, Manifest
from ser_batch.results.reading import part_files
from ser_batch.results.schemas import TABLES, table_schemas
from ser_batch.storage.checkout import storage_of
from ser_batch.storage.local import crc32_of, sync_folder

BROKEN_FOLDER = "broken"
"""Where parts that cannot be trusted are set aside."""

Tables = dict[str, pa.Table]


class DamagedPart(ResultsError):
    """A live part cannot be read."""


class LiveParts:
    """The parts that a manifest names.

    All changes raise ResultsError if the disk is full or fails; what was live stays
    live.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest
        self.schemas = table_schemas(manifest.identity.labels)
        self._storage = storage_of(directory)

    def read(self, table: str, part: str) -> pa.Table:
        """Return a part as it was written.

        Raises:
            DamagedPart: it is damaged or missing. Damaged data is never rewritten as if
                it were intact.
        """
        [path] = part_files(self.directory, self.manifest, table, [part])
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            return file.read().cast(self.schemas[table])
        except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError) as error:
            raise DamagedPart(
                f"{path}: damaged or missing ({error}); `ser verify {self.directory} "
                "--repair` sets it aside, and the next run recreates it",
                path=path,
            ) from error

    def replace(
        self, old: set[str], new: Iterable[Tables], grows: bool | None = None
    ) -> dict[str, list[str]]:
        """Replace old parts with new ones, in one step.

        Args:
            old: the names of the old parts.
            new: the tables of the new parts.
            grows: True if recordings are added, False if some are removed, else None.

        Returns:
            The ids of the recordings in each new part. Parts without any are not made.
        """
        recordings: dict[str, list[str]] = {}

        def write(after: Manifest) -> None:
            for tables in new:
                if not tables["recordings"].num_rows:
                    continue
                part = f"part-{after.next_part:06}"
                after.next_part += 1
                recordings[part] = tables["recordings"]["recording_id"].to_pylist()
                after.parts[part] = self._write(after, part, tables)

        self._change(self.manifest.identity, old, write, grows)
        return recordings

    def merge(self, groups: Iterable[Sequence[str]]) -> None:
        """Merge each group of parts into one part, all in one step."""
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
        """Remove parts from the manifest, and delete their files."""
        self._change(self.manifest.identity, set(parts), lambda after: None, False)

    def adopt(self, directory: Path, other: Manifest) -> None:
        """Replace all parts with those of another directory, in one step."""

        def link(after: Manifest) -> None:
            for part, size in other.parts.items():
                name = f"part-{after.next_part:06}"
                after.next_part += 1
                for table in TABLES:
                    source = other.file(directory, table, part)
                    _link_or_copy(source, after.file(self.directory, table, name))
                after.parts[name] = size
            for table in TABLES:
                sync_folder(after.file(self.directory, table, "").parent)

        self._change(other.identity, set(self.manifest.parts), link)

    def keep_profile(self, profile_id: str) -> None:
        """Set the profile with which all rows will be scored."""
        identity = replace(self.manifest.identity, profile_id=profile_id)
        self._change(identity, set(), lambda after: None)

    def clear_leftovers(self) -> None:
        """Remove what a crash has left: files of parts that are not live."""
        if self.manifest.generation:
            point_to(self.directory, self.manifest.generation)
            remove_others(self.directory, self.manifest.generation, KEPT_S)
        else:
            self._clear_folders()

    def forget_others(self, but_last: bool = False) -> None:
        """Remove earlier states, so that no reader can go back to them.

        With `but_last`, the latest ones are kept for readers that began with them.
        """
        if self.manifest.generation:
            kept_s = KEPT_S if but_last else 0.0
            remove_others(self.directory, self.manifest.generation, kept_s)

    def _change(
        self,
        identity: Identity,
        old: set[str],
        make: Callable[[Manifest], None],
        grows: bool | None = None,
    ) -> None:
        """Make a state live without the parts `old` and with those that `make` adds."""
        before, generation = self.manifest, None
        kept = {part: size for part, size in before.parts.items() if part not in old}
        after = Manifest(identity, before.next_part, dict(kept), before.generation)
        try:
            if before.generation:
                after.generation += 1
                generation = Generation(self.directory, before, after)
                for part in kept:
                    generation.keep(part)
            make(after)
            if generation:
                generation.publish(grows)
            else:
                self._storage.put({MANIFEST: after.data()})
        except (ResultsError, OSError, pa.ArrowException) as error:
            self._undo(set(after.parts) - set(kept), generation)
            if isinstance(error, ResultsError):
                raise
            raise self._cannot_be_written(error) from error
        self.manifest = after
        if generation:
            remove_others(self.directory, after.generation, KEPT_S)
        else:
            self._remove(before, set(before.parts) - set(kept))

    def _cannot_be_written(self, error: Exception) -> ResultsError:
        reason = getattr(error, "strerror", None) or error
        return ResultsError(
            f"{self.directory}: cannot be written: {reason}. Committed rows are safe; "
            "free up disk space (or repair the disk) and run the same command again",
            path=self.directory,
        )

    def _undo(self, parts: Iterable[str], generation: Generation | None) -> None:
        # The error may have come just after the new state became live.
        live = Manifest.read(self.directory)
        if generation:
            if live is None or live.generation != generation.after.generation:
                generation.abandon()
            else:
                with suppress(OSError):
                    point_to(self.directory, live.generation)
            return
        self._remove(self.manifest, set(parts) - set(live.parts if live else ()))

    def _clear_folders(self) -> None:
        """Remove files of parts that are not live, if there are no generations.

        If live files are missing, the manifest is not the latest one, and a part that
        it does not name may be the only copy of its rows: it is then set aside.
        """
        doubtful = any(
            not self.manifest.file(self.directory, table, part).exists()
            for part in self.manifest.parts
            for table in TABLES
        )
        for table in TABLES:
            for path in (self.directory / table).iterdir():
                ours = PART_FILE.fullmatch(path.name)
                if not ours or path.stem in self.manifest.parts:
                    continue
                if doubtful and path.suffix == ".parquet":
                    aside = self.directory / BROKEN_FOLDER / table
                    aside.mkdir(parents=True, exist_ok=True)
                    os.replace(path, aside / path.name)
                else:
                    path.unlink()

    def _write(
        self, manifest: Manifest, part: str, tables: Mapping[str, pa.Table]
    ) -> dict[str, int]:
        size = crc = 0
        for table, rows in tables.items():
            with self._storage.writing(manifest.name(table, part)) as file:
                pq.write_table(rows, file, compression="zstd", write_page_checksum=True)
                size += file.tell()
            crc = crc32_of(manifest.file(self.directory, table, part), crc)
        n_recordings = tables["recordings"].num_rows
        return {"recordings": n_recordings, "bytes": size, "crc32": crc}

    def _remove(self, manifest: Manifest, parts: Iterable[str]) -> None:
        for part in parts:
            for table in TABLES:
                # What cannot be removed now, the next run removes.
                with suppress(OSError):
                    self._storage.delete(manifest.name(table, part))


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Not every file system has links.
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())

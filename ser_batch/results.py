"""The results directory: atomic commit, resume, read.

    results/
      manifest.json             which parts are live, and of which model and configuration they are
      recordings/part-N.parquet
      speech/part-N.parquet
      segments/part-N.parquet
      run.json                  the last run: versions, model, configuration, counts

A part is one file in each of the three tables. Replacing `manifest.json` is the one step that makes
parts live: files are written and synced before it, and removed after it. A file that the manifest does
not name was left by a crash; the next run removes it.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError, SerError
from ser_batch.manifest import Identity, Manifest, crc32_of, sync_folder, write_durably
from ser_batch.parts import Known, check_identity, part_file, read_known
from ser_batch.schemas import TABLES, table_schemas

PART_RECORDINGS = 400
PART_BYTES = 64_000_000
COMMIT_S = 30.0
WORK = ".work"
BROKEN = "broken"
"""Where parts are put that nobody can vouch for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one recording: one for `recordings`, any number for the other tables."""

    recording: dict[str, Any]
    speech: dict[str, Sequence[Any]]
    segments: dict[str, Sequence[Any]]


class DamagedPart(ResultsError):
    """A live part cannot be read."""


class ResultsWriter:
    """Adds recordings to a results directory; use `open_results`.

    Rows wait in memory until `commit`, which `add` calls when `COMMIT_S` have passed or a part is full.
    """

    def __init__(self, directory: Path, manifest: Manifest, read: bool = True) -> None:
        self.directory = directory
        self.work = directory / WORK
        self._manifest = manifest
        self._schemas = table_schemas(manifest.identity.labels)
        self._waiting: dict[str, Rows] = {}
        self._waiting_since = 0.0
        self.known = read_known(directory, manifest.identity) if read else {}

    def write_record(self, values: dict[str, Any]) -> None:
        """Writes `run.json`."""
        write_durably(self.directory / "run.json", (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    def _file(self, table: str, part: str) -> Path:
        return part_file(self.directory, table, part)

    def recover(self) -> None:
        """Removes what a crash has left: files that are not live, and waveforms that were being scored."""
        self.clear_work()
        # A worker of a killed run may live for a moment yet, and keep it.
        self.work.mkdir(mode=0o700, exist_ok=True)
        # Where live files are missing, the manifest is not the last one: then nothing that it does not know is rubbish.
        doubtful = any(not self._file(table, part).exists() for part in self._manifest.parts for table in TABLES)
        for table in TABLES:
            for path in (self.directory / table).iterdir():
                ours = re.fullmatch(r"part-\d{6,}\.parquet|\.part-\d{6,}\.partial", path.name)
                if ours and path.stem not in self._manifest.parts:
                    if doubtful and path.suffix == ".parquet":
                        aside = self.directory / BROKEN / table
                        aside.mkdir(parents=True, exist_ok=True)
                        os.replace(path, aside / path.name)
                    else:
                        path.unlink()

    def clear_work(self) -> None:
        """Removes the waveforms that wait to be scored."""
        if self.work.is_symlink():
            self.work.unlink()
        shutil.rmtree(self.work, ignore_errors=True)

    def add(self, rows: Rows) -> None:
        """Takes the rows of one recording, in place of any that it had."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting[rows.recording["recording_id"]] = rows
        if len(self._waiting) >= PART_RECORDINGS:
            self.commit()
        else:
            self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commits what has waited for long enough."""
        if self._waiting and time.monotonic() - self._waiting_since >= COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Makes all waiting rows live at once.

        The last part is written anew together with them until it is full, so that a commit every
        minute does not end in thousands of small files. Parts with rows that are replaced are written
        anew without those.

        Raises:
            ResultsError: the disk is full or fails; what was live stays so.
        """
        if not self._waiting:
            return
        replaced = {self.known[i].part for i in self._waiting if i in self.known}
        live = self._manifest.parts
        tail = next(reversed(live), None)
        if tail and (live[tail]["recordings"] >= PART_RECORDINGS or live[tail]["bytes"] >= PART_BYTES):
            tail = None

        def made() -> Iterator[dict[str, pa.Table]]:
            for old in sorted(replaced - {tail}):
                yield self._kept(old)
            kept = self._kept(tail) if tail else {name: s.empty_table() for name, s in self._schemas.items()}
            yield {name: pa.concat_tables([kept[name], self._new(name)]) for name in TABLES}

        try:
            where = self._replace({*replaced, tail}, made())
        finally:
            # After an error this writer is done for: the next run begins with what is live.
            committed, self._waiting = self._waiting, {}
        for rows in committed.values():
            r = rows.recording
            self.known[r["recording_id"]] = Known(
                sys.intern(r["input_root"]),
                r["size_bytes"],
                r["modified_at"],
                r["content_hash"],
                r["status"] == "failed",
                "",
            )
        for part, recording_ids in where.items():
            for recording_id in recording_ids:
                self.known[recording_id] = replace(self.known[recording_id], part=part)

    def append(self, tables: Iterable[dict[str, pa.Table]]) -> None:
        """Makes parts of whole tables, all at once.

        Raises:
            ResultsError: the disk is full or fails; what was live stays so.
        """
        self._replace(set(), tables)

    def merge(self, groups: Iterable[Sequence[str]]) -> None:
        """Makes one part of each group of live parts, all at once.

        Raises:
            ResultsError: the disk is full or fails; what was live stays so.
        """
        groups = list(groups)
        tables = (
            {name: pa.concat_tables([self._read(name, part) for part in group]) for name in TABLES} for group in groups
        )
        self._replace({part for group in groups for part in group}, tables)

    def drop(self, parts: Iterable[str]) -> None:
        """Makes parts live no more, and removes their files."""
        gone = set(parts)
        kept = {part: size for part, size in self._manifest.parts.items() if part not in gone}
        self._manifest = Manifest(self._manifest.identity, self._manifest.next_part, kept)
        self._manifest.write(self.directory)
        self._remove(gone)

    def _replace(self, old: set[str | None], made: Iterable[dict[str, pa.Table]]) -> dict[str, list[str]]:
        """Puts new parts in the place of old ones, in one step; gives the recordings of each new part."""
        live = self._manifest.parts
        parts, next_part = {p: v for p, v in live.items() if p not in old}, self._manifest.next_part
        written: list[str] = []
        where: dict[str, list[str]] = {}
        try:
            for tables in made:
                if not tables["recordings"].num_rows:
                    continue
                part = f"part-{next_part:06}"
                next_part += 1
                written.append(part)
                parts[part] = self._write(part, tables)
                where[part] = tables["recordings"]["recording_id"].to_pylist()
            manifest = Manifest(self._manifest.identity, next_part, parts)
            manifest.write(self.directory)
        except DamagedPart:
            self._remove(set(written) - set(self._live_on_disk()))
            raise
        except (OSError, pa.ArrowException) as error:
            self._remove(set(written) - set(self._live_on_disk()))
            reason = getattr(error, "strerror", None) or error
            raise ResultsError(
                f"{self.directory}: cannot be written: {reason}. What was committed is safe; "
                "make room (or mend the disk) and run the same command again"
            ) from error
        self._manifest = manifest
        self._remove(set(live) - set(parts))
        return where

    def _live_on_disk(self) -> Iterable[str]:
        """The parts that the manifest names now: an error may have come just after it was replaced."""
        manifest = Manifest.read(self.directory)
        return manifest.parts if manifest else ()

    def _remove(self, parts: Iterable[str]) -> None:
        for part in parts:
            for table in TABLES:
                # What cannot be removed now is removed by the next run.
                with suppress(OSError):
                    self._file(table, part).unlink(missing_ok=True)

    def _kept(self, part: str) -> dict[str, pa.Table]:
        """The rows of a live part that are not about to be replaced."""
        gone = pa.array(list(self._waiting), pa.string())
        kept = {}
        for name in TABLES:
            table = self._read(name, part)
            kept[name] = table.filter(pc.invert(pc.is_in(table["recording_id"], gone)))
        return kept

    def _read(self, name: str, part: str) -> pa.Table:
        """A live table as it was written: what is damaged is never written anew as if it were whole."""
        path = self._file(name, part)
        try:
            return pq.ParquetFile(path, page_checksum_verification=True).read().cast(self._schemas[name])
        except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError) as error:
            raise DamagedPart(
                f"{path}: is damaged or missing ({error}); `ser verify {self.directory} --repair` puts it aside, and "
                "the next run makes it again"
            ) from error

    def _new(self, name: str) -> pa.Table:
        schema = self._schemas[name]
        if name == "recordings":
            return pa.Table.from_pylist([rows.recording for rows in self._waiting.values()], schema)
        tables = [pa.table(getattr(rows, name), schema) for rows in self._waiting.values() if getattr(rows, name)]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _write(self, part: str, tables: dict[str, pa.Table]) -> dict[str, int]:
        size = crc = 0
        for name, table in tables.items():
            path = self._file(name, part)
            partial = path.with_name(f".{part}.partial")
            try:
                with partial.open("wb") as file:
                    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
                    file.flush()
                    os.fsync(file.fileno())
                    size += file.tell()
                crc = crc32_of(partial, crc)
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
        return {"recordings": tables["recordings"].num_rows, "bytes": size, "crc32": crc}


@contextmanager
def open_results(directory: Path, identity: Identity, read: bool = True) -> Iterator[ResultsWriter]:
    """Opens a results directory for writing, makes it where there is none, locks it, and removes what a crash left.

    Without `read`, what it holds is not looked at: for repair, where that may be damaged.

    Raises:
        ResultsError: it cannot be written, another run writes to it, it belongs to another model or
            configuration, or it holds parts of unknown origin.
    """
    try:
        for table in TABLES:
            (directory / table).mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise ResultsError(f"{directory}: another run is writing here; wait for it, or choose another --out") from None
    except OSError as error:
        raise ResultsError(f"{directory}: cannot be written: {error.strerror}; choose another --out") from error
    try:
        manifest = Manifest.read(directory)
        if manifest is None:
            stray = next((p for table in TABLES for p in (directory / table).iterdir()), None)
            if stray:
                raise ResultsError(f"{stray} is there, but no manifest.json: choose an empty directory for --out")
            manifest = Manifest(identity)
            manifest.write(directory)
        check_identity(directory, manifest.identity, identity)
        writer = ResultsWriter(directory, manifest, read)
        writer.recover()
        try:
            yield writer
        finally:
            writer.clear_work()
    except SerError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{directory}: cannot be written: {error.strerror or error}; choose another --out"
        ) from error
    finally:
        lock.release()

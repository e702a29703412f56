"""Writing to a results directory: rows wait in memory, and become live together."""

import json
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa

from ser_batch.emotion.profile import Profile
from ser_batch.errors import ResultsError, SerError
from ser_batch.results.generations import Generation, check_origin, supports_links
from ser_batch.results.known import Known, KnownRecording, read_known
from ser_batch.results.live_parts import Tables
from ser_batch.results.manifest import (
    MANIFEST,
    RUN_RECORD,
    Identity,
    Manifest,
    check_identity,
)
from ser_batch.results.profiles import profile_name, read_results_profile
from ser_batch.results.rows import Rows
from ser_batch.results.schemas import TABLES
from ser_batch.results.stored_parts import create_stored, parts_of
from ser_batch.storage.checkout import checkout_of, name_of, storage_of
from ser_batch.storage.local import LocalStorage

PART_RECORDINGS = 400
PART_BYTES = 64_000_000
MERGED_PARTS = 8
COMMIT_S = 30.0
KNOWN_COLUMNS = frozenset(field.name for field in fields(KnownRecording))
WORK_FOLDER = ".work"
"""Where waveforms are kept until they are scored."""


class ResultsWriter:
    """Adds recordings to a results directory; created by `open_writer`.

    Rows wait in memory until `commit`, which `add` calls when `COMMIT_S` have passed or
    a part is full.

    Attributes:
        parts: the live parts.
        known: the recordings in the directory, by id.
        work: a folder for waveforms that are to be scored.
    """

    def __init__(self, directory: Path, manifest: Manifest, read: bool = True) -> None:
        self.directory, self.work = directory, directory / WORK_FOLDER
        self.parts = parts_of(directory, manifest)
        self.known = read_known(directory, manifest.identity) if read else Known()
        self._waiting: dict[str, Rows] = {}
        self._waiting_since = 0.0

    @property
    def identity(self) -> Identity:
        """Model, configuration, labels and profile of all rows."""
        return self.parts.manifest.identity

    def profile(self) -> Profile | None:
        """Return the profile with which rows are scored; None if there is none.

        Raises:
            ResultsError: it is damaged, or not that of these rows.
        """
        return read_results_profile(self.directory, self.identity)

    def keep_profile(self, profile: Profile) -> None:
        """Store the profile with which all rows are to be scored.

        Raises:
            ResultsError: there are rows that were scored without it, or the directory
                cannot be written.
        """
        before = self.identity.profile_id
        if before == profile.profile_id:
            return
        if before or self.parts.manifest.parts:
            raise ResultsError(
                f"{self.directory}: its rows were scored with "
                f"{f'profile {before}' if before else 'the statistics of the bundle'}, "
                f"but this is profile {profile.profile_id}: choose a new --out, or "
                "rescore all recordings with `ser profile refresh`",
                path=self.directory,
            )
        name = profile_name(profile.profile_id)
        storage_of(self.directory).put({name: profile.data()})
        self.parts.keep_profile(profile.profile_id)

    def write_record(self, values: dict[str, Any]) -> None:
        """Write `run.json`."""
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        storage_of(self.directory).put({RUN_RECORD: text.encode()})

    def recover(self) -> None:
        """Remove what a crash has left: files that are not live, and waveforms."""
        self.clear_work()
        # A worker of a killed run may still be alive and using the folder.
        self.work.mkdir(mode=0o700, exist_ok=True)
        self.parts.clear_leftovers()
        for path in self.directory.glob(profile_name("*")):
            if path.name != profile_name(self.identity.profile_id):
                path.unlink()

    def clear_work(self) -> None:
        """Remove the waveforms that are kept for scoring."""
        if self.work.is_symlink():
            self.work.unlink()
        shutil.rmtree(self.work, ignore_errors=True)

    def add(self, rows: Rows) -> None:
        """Add the rows of one recording, replacing any that it had."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting[rows.recording["recording_id"]] = rows
        if len(self._waiting) >= PART_RECORDINGS:
            self.commit()
        else:
            self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if rows have waited for `COMMIT_S`."""
        if self._waiting and time.monotonic() - self._waiting_since >= COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Make all waiting rows live at once.

        They become a new part. Where `MERGED_PARTS` small ones follow each other, those
        are merged, so that a commit every minute does not result in thousands of files.
        Parts with rows that are replaced are rewritten without those.

        Raises:
            ResultsError: the disk is full or fails; what was live stays live.
        """
        if not self._waiting:
            return
        replaced = {self.known[i].part for i in self._waiting if i in self.known}
        small = self._small_parts()
        try:
            new = self._new_parts(replaced - set(small), small)
            grows = True if any(i not in self.known for i in self._waiting) else None
            recordings = self.parts.replace(replaced | set(small), new, grows)
        finally:
            # After an error, this writer cannot be used; the next run begins with what
            # is live.
            committed, self._waiting = self._waiting, {}
        for rows in committed.values():
            row = rows.recording
            self.known[row["recording_id"]] = _known(row)
        self._set_parts(recordings)

    def amend(
        self, changes: Mapping[str, Mapping[str, Any]], removed: Collection[str] = ()
    ) -> None:
        """Change columns of recordings, and remove all rows of others, in one step.

        Args:
            changes: by recording id, the new values by column; a new `path` also
                applies to its segments.
            removed: the ids of the recordings to remove.

        Raises:
            ResultsError: the disk is full or fails; what was live stays live.
        """
        gone = set(removed)
        parts = {self.known[i].part for i in (*changes, *gone)}
        new = (self._amended(part, changes, gone) for part in sorted(parts))
        recordings = self.parts.replace(parts, new, False if gone else None)
        for recording_id in gone:
            del self.known[recording_id]
        for recording_id, values in changes.items():
            known = {k: v for k, v in values.items() if k in KNOWN_COLUMNS}
            self.known[recording_id] = replace(self.known[recording_id], **known)
        self._set_parts(recordings)

    def replace_rows(self, gone: Collection[str], new: Iterable[Tables]) -> None:
        """Remove all rows of some recordings, and add those of new parts, in one step.

        This writer cannot be used afterwards.

        Raises:
            ResultsError: the disk is full or fails; what was live stays live.
        """
        parts = {self.known[i].part for i in gone}
        kept = (self._without(part, gone) for part in sorted(parts))
        self.parts.replace(parts, chain(kept, new), True)

    def _amended(
        self, part: str, changes: Mapping[str, Mapping[str, Any]], gone: set[str]
    ) -> Tables:
        tables = self._without(part, gone)
        rows = tables["recordings"].to_pylist()
        own = {row["recording_id"] for row in rows} & set(changes)
        if not own:
            return tables
        for row in rows:
            row.update(changes.get(row["recording_id"], {}))
        schema = self.parts.schemas["recordings"]
        tables["recordings"] = pa.Table.from_pylist(rows, schema)
        paths = {i: changes[i]["path"] for i in own if "path" in changes[i]}
        if paths:
            segments = tables["segments"]
            names = zip(
                segments["recording_id"].to_pylist(),
                segments["path"].to_pylist(),
                strict=True,
            )
            column = pa.array([paths.get(i, path) for i, path in names], pa.string())
            at = segments.schema.get_field_index("path")
            field = segments.schema.field(at)
            tables["segments"] = segments.set_column(at, field, column)
        return tables

    def _set_parts(self, recordings: Mapping[str, Sequence[str]]) -> None:
        for part, recording_ids in recordings.items():
            for recording_id in recording_ids:
                self.known[recording_id] = replace(self.known[recording_id], part=part)

    def _small_parts(self) -> list[str]:
        """Return the last parts that are less than half full, if there are many."""
        small = []
        for part, size in reversed(self.parts.manifest.parts.items()):
            half_full = (
                2 * size["recordings"] >= PART_RECORDINGS
                or 2 * size["bytes"] >= PART_BYTES
            )
            if half_full:
                break
            small.append(part)
        return small[::-1] if len(small) + 1 >= MERGED_PARTS else []

    def _new_parts(self, replaced: set[str], small: Sequence[str]) -> Iterator[Tables]:
        for part in sorted(replaced):
            yield self._kept(part)
        # Join the small parts and the waiting rows, in order, up to full parts.
        group: list[Tables] = []
        waiting = {table: self._new(table) for table in TABLES}
        for tables in chain(map(self._kept, small), [waiting]):
            together = [*group, tables]
            if sum(own["recordings"].num_rows for own in together) > PART_RECORDINGS:
                if group:
                    yield _joined(group)
                together = [tables]
            group = together
        yield _joined(group)

    def _kept(self, part: str) -> Tables:
        """Return the rows of a live part that will not be replaced."""
        return self._without(part, self._waiting)

    def _without(self, part: str, gone: Collection[str]) -> Tables:
        kept = {}
        for table in TABLES:
            rows = self.parts.read(table, part)
            stays = [i not in gone for i in rows["recording_id"].to_pylist()]
            kept[table] = rows.filter(pa.array(stays, pa.bool_()))
        return kept

    def _new(self, table: str) -> pa.Table:
        """Return the waiting rows of a table."""
        schema, waiting = self.parts.schemas[table], self._waiting.values()
        if table == "recordings":
            return pa.Table.from_pylist([rows.recording for rows in waiting], schema)
        columns = [getattr(rows, table) for rows in waiting]
        tables = [pa.table(own, schema) for own in columns if own]
        return pa.concat_tables(tables) if tables else schema.empty_table()


def _joined(parts: Sequence[Tables]) -> Tables:
    return {table: pa.concat_tables([own[table] for own in parts]) for table in TABLES}


def _known(row: dict[str, Any]) -> KnownRecording:
    return KnownRecording(
        path=row["path"],
        # Many recordings share their root, so keep one copy of the string.
        input_root=sys.intern(row["input_root"]),
        location=row["location"],
        size_bytes=row["size_bytes"],
        modified_at=row["modified_at"],
        etag=row.get("etag"),
        content_hash=row["content_hash"],
        failed=row["status"] == "failed",
        duplicate_of=row.get("duplicate_of"),
        part="",
    )


def _created(directory: Path, identity: Identity) -> Manifest:
    """Create a results directory without rows, and return its manifest."""
    if checkout := checkout_of(directory):
        return create_stored(checkout, identity)
    check_origin(directory)
    manifest = Manifest(identity)
    if supports_links(directory):
        for table in TABLES:
            if (directory / table).is_dir():
                (directory / table).rmdir()
        manifest.generation = 1
        Generation(directory, Manifest(identity), manifest).publish()
        return manifest
    for table in TABLES:
        (directory / table).mkdir(exist_ok=True)
    LocalStorage(directory).put({MANIFEST: manifest.data()})
    return manifest


@contextmanager
def open_writer(
    directory: Path, identity: Identity, read: bool = True
) -> Iterator[ResultsWriter]:
    """Open a results directory for writing.

    Creates it if necessary, locks it, and removes what a crash has left. Without
    `read`, its rows are not read: for repair, as they may be damaged.

    Raises:
        ResultsError: it cannot be written, another run is writing to it, it belongs to
            another model or configuration, or it contains parts of unknown origin.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise ResultsError(
            f"{name_of(directory)}: another run is writing here; wait for it to end, "
            "or choose another --out"
        ) from None
    except OSError as error:
        raise ResultsError(
            f"{name_of(directory)}: cannot be written: {error.strerror}; choose "
            "another --out"
        ) from error
    try:
        if checkout := checkout_of(directory):
            checkout.check_conditions()
        manifest = Manifest.read(directory)
        if manifest is None:
            manifest = _created(directory, identity)
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
            f"{name_of(directory)}: cannot be written: {error.strerror or error}; "
            "choose another --out"
        ) from error
    finally:
        lock.release()

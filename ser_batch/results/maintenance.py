"""A results directory between runs: `verify`, `repair`, `compact`."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.results import generations, writing
from ser_batch.results.generations import LINKS, folder_of, leads_to
from ser_batch.results.live_parts import BROKEN_FOLDER
from ser_batch.results.manifest import CURRENT, Manifest, read_manifest
from ser_batch.results.results import open_results
from ser_batch.results.schemas import TABLES, table_schemas
from ser_batch.storage.local import sync_folder

SLACK_S = 0.02
"""By how much a segment may end after its recording: the rounding of a frame."""
SUM_TOLERANCE = 1e-3


@dataclass
class Findings:
    """What `verify` saw: counts, and what is wrong with which part."""

    parts: int = 0
    recordings: int = 0
    segments: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By part; those of a whole directory under the empty name."""

    @property
    def sound(self) -> bool:
        return not self.problems


def verify(directory: Path) -> Findings:
    """Checks every live part: that it is there and whole (page checksums), its schema and counts, one row for each
    recording, and that speech and segments belong to it, lie within it and have probabilities that sum to 1.

    Raises:
        ResultsError: the directory holds no results, or its manifest is damaged.
    """
    while True:
        manifest = read_manifest(directory)
        findings = _verify(directory, manifest)
        # A run may have replaced parts while they were looked at, or be about to.
        if findings.problems.keys() == {""}:
            time.sleep(2 * generations.AHEAD_S)
            findings = _verify(directory, manifest)
        now = read_manifest(directory)
        if findings.sound or (now.generation, now.parts) == (
            manifest.generation,
            manifest.parts,
        ):
            return findings


def _verify(directory: Path, manifest: Manifest) -> Findings:
    findings = Findings(len(manifest.parts))
    if misread := list(_misread(directory, manifest)):
        findings.problems[""] = misread
    owners: dict[str, str] = {}
    for part, stated in manifest.parts.items():
        tables: dict[str, pa.Table] = {}
        problems = list(_unreadable(directory, part, stated, manifest, tables))
        if len(tables) == len(TABLES):
            problems += _wrong_rows(
                tables, manifest.identity.labels, stated["recordings"]
            )
            findings.recordings += tables["recordings"].num_rows
            findings.segments += tables["segments"].num_rows
            for recording_id in tables["recordings"]["recording_id"].to_pylist():
                if recording_id in owners:
                    problems.append(
                        f"recording {recording_id} is in {owners[recording_id]} too"
                    )
                owners[recording_id] = part
        if problems:
            findings.problems[part] = problems
    return findings


def _misread(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what would mislead somebody who opens the folders and no manifest."""
    if manifest.generation:
        target = folder_of(directory, manifest.generation).relative_to(directory)
        for name, leads in {CURRENT: str(target), **LINKS}.items():
            if not leads_to(directory / name, leads):
                yield f"{name} is not a link to {leads}"
    for table in TABLES:
        folder = directory / table
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        listed = {manifest.file(directory, table, p).name for p in manifest.parts}
        strays = sorted(name for name in there - listed if name.endswith(".parquet"))
        if strays:
            yield (
                f"{table}/{strays[0]} does not belong to these results, but plain "
                "readers count it"
            )


def repair(directory: Path) -> Findings:
    """Puts broken parts aside, under `broken/`: the next run analyses their recordings again.

    Gives what was found before. What is sound stays as it is, also when this is killed half way.

    Raises:
        ResultsError: as `verify`; a run is writing here; or the directory cannot be written.
    """
    with open_results(directory).writer(read=False) as writer:
        manifest = writer.parts.manifest
        findings = _verify(directory, manifest)
        try:
            # First a second name in `broken`, then off the list: at no instant is there no name at all.
            broken = [part for part in findings.problems if part]
            for part in broken:
                for table in TABLES:
                    path = manifest.file(directory, table, part)
                    aside = directory / BROKEN_FOLDER / table
                    name = f"{part}.parquet"
                    if path.exists() and not (aside / name).exists():
                        aside.mkdir(parents=True, exist_ok=True)
                        _second_name(path, aside / name)
                        sync_folder(aside)
            writer.parts.drop(broken)
        except OSError as error:
            raise ResultsError(
                f"{directory}: cannot be repaired: {error.strerror}; nothing was changed"
            ) from error
    return findings


def _second_name(path: Path, aside: Path) -> None:
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copy2(path, aside)


def compact(directory: Path) -> tuple[int, int]:
    """Merges small parts; gives the number of parts before and after. The rows stay the same.

    Raises:
        ResultsError: the directory holds no results, a part is damaged, a run is writing here, or the disk is full;
            what was live stays so.
    """
    with open_results(directory).writer(read=False) as writer:
        parts = writer.parts.manifest.parts
        if groups := list(_groups(parts)):
            writer.parts.merge(groups)
        return len(parts), len(writer.parts.manifest.parts)


def _groups(parts: dict[str, dict[str, int]]) -> Iterator[list[str]]:
    """Neighbours that fit into one part, two or more."""
    group: list[str] = []
    recordings = size = 0
    for part, stated in parts.items():
        fits = (
            recordings + stated["recordings"] <= writing.PART_RECORDINGS
            and size + stated["bytes"] <= writing.PART_BYTES
        )
        if group and not fits:
            if len(group) > 1:
                yield group
            group, recordings, size = [], 0, 0
        group.append(part)
        recordings += stated["recordings"]
        size += stated["bytes"]
    if len(group) > 1:
        yield group


def _unreadable(
    directory: Path,
    part: str,
    stated: dict[str, int],
    manifest: Manifest,
    tables: dict[str, pa.Table],
) -> Iterator[str]:
    """What keeps the files of a part from being read; those that can be are put into `tables`."""
    size = 0
    for name, schema in table_schemas(manifest.identity.labels).items():
        path = manifest.file(directory, name, part)
        try:
            size += path.stat().st_size
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
        except FileNotFoundError:
            yield f"{name} is missing"
        except PermissionError as error:
            raise ResultsError(
                f"{path}: may not be read; give this user the right to. Nothing was changed"
            ) from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            yield f"{name} cannot be read: {error}"
        else:
            if table.schema.equals(schema):
                tables[name] = table
            else:
                yield f"{name} has another schema"
    if len(tables) == len(TABLES):
        if size != stated["bytes"]:
            yield f"its files have {size} bytes, and the manifest says {stated['bytes']}"
        elif "crc32" in stated and manifest.crc32(directory, part) != stated["crc32"]:
            yield "its checksum is not that of the manifest"


def _wrong_rows(
    tables: dict[str, pa.Table], labels: tuple[str, ...], stated: int
) -> Iterator[str]:
    recordings, segments = tables["recordings"], tables["segments"]
    if recordings.num_rows != stated:
        yield f"{recordings.num_rows} recordings, and the manifest says {stated}"
    ids = recordings["recording_id"].to_pylist()
    if len(set(ids)) < len(ids):
        yield "a recording is there twice"
    lengths = dict(zip(ids, recordings["duration_s"].to_pylist(), strict=True))
    done = {
        i
        for i, status in zip(ids, recordings["status"].to_pylist(), strict=True)
        if status == "done"
    }
    if set(recordings["status"].to_pylist()) - {"done", "failed", "duplicate"}:
        yield "a status is neither done nor failed nor duplicate"
    copies = pc.equal(recordings["status"], "duplicate")
    if not copies.equals(pc.is_valid(recordings["duplicate_of"])):
        yield "duplicate_of is not that of the duplicates"
    for name in ("speech", "segments"):
        table = tables[name]
        needed = [
            "recording_id",
            "channel",
            "start_s",
            "end_s",
            *([f"p_{x}" for x in labels] if name == "segments" else []),
        ]
        if any(table[column].null_count for column in needed):
            yield f"{name} has rows without {' or '.join(c for c in needed if table[c].null_count)}"
            return
        owners = table["recording_id"].to_pylist()
        if set(owners) - done:
            yield f"{name} belongs to a recording that is not here, or failed"
        starts, ends = table["start_s"].to_pylist(), table["end_s"].to_pylist()
        for owner, start_s, end_s in zip(owners, starts, ends, strict=True):
            length_s = lengths.get(owner)
            if not 0 <= start_s < end_s or (
                length_s is not None and end_s > length_s + SLACK_S
            ):
                yield f"{name} of {owner} from {start_s} s to {end_s} s is not within its recording of {length_s} s"
                break
        if table.num_rows and pc.min(table["channel"]).as_py() < 0:
            yield f"{name} has a channel below 0"
        if set(table["role"].to_pylist()) - {"agent", "customer", None}:
            yield f"{name} has a role that is neither agent nor customer"
    counts = dict(zip(ids, recordings["segments"].to_pylist(), strict=True))
    counted = {
        v["values"]: v["counts"]
        for v in pc.value_counts(segments["recording_id"]).to_pylist()
    }
    for recording_id in done:
        if (counts[recording_id] or 0) != counted.get(recording_id, 0):
            yield f"{recording_id} should have {counts[recording_id]} segments and has {counted.get(recording_id, 0)}"
            break
    if segments.num_rows:
        p = np.stack(
            [segments[f"p_{label}"].to_numpy().astype(float) for label in labels]
        )
        if (
            not np.isfinite(p).all()
            or p.min() < 0
            or np.abs(p.sum(0) - 1).max() > SUM_TOLERANCE
        ):
            yield "probabilities do not sum to 1"
        elif (
            np.abs(p.max(0) - segments["confidence"].to_numpy().astype(float)).max()
            > SUM_TOLERANCE
        ):
            yield "a confidence is not the highest probability"
        if set(segments["label"].to_pylist()) - {*labels, None}:
            yield "a label is none of the model's"
        numbers = list(
            zip(
                segments["recording_id"].to_pylist(),
                segments["segment"].to_pylist(),
                strict=True,
            )
        )
        if len(set(numbers)) < len(numbers):
            yield "a segment is there twice"

"""Maintenance of a results directory between runs: `verify`, `repair`, `compact`."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
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
from ser_batch.storage.checkout import checkout_of
from ser_batch.storage.local import sync_folder

SLACK_S = 0.02
"""How much later than its recording a segment may end: the rounding of a frame."""
SUM_TOLERANCE = 1e-3


@dataclass
class Findings:
    """The result of `verify`: counts, and the problems of each part."""

    parts: int = 0
    recordings: int = 0
    segments: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By part; those of the whole directory are under the empty name."""

    @property
    def sound(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify(directory: Path) -> Findings:
    """Check every live part.

    It must be present and intact (page checksums), with the right schema and counts and
    one row for each recording. Speech and segments must belong to a recording, be
    within it, and have probabilities that sum to 1.

    Raises:
        ResultsError: the directory contains no results, or its manifest is damaged.
    """
    while True:
        manifest = read_manifest(directory)
        findings = _verify(directory, manifest)
        # A run may be replacing parts while they are checked.
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
    if checkout_of(directory):
        # Several at a time; what is missing, is found below.
        for table in TABLES:
            with suppress(OSError):
                manifest.files(directory, table, manifest.parts)
    elif misread := list(_link_problems(directory, manifest)):
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
                        f"recording {recording_id} is also in {owners[recording_id]}"
                    )
                owners[recording_id] = part
        if problems:
            findings.problems[part] = problems
    return findings


def _link_problems(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what would mislead a plain reader, which does not read the manifest."""
    if manifest.generation:
        target = folder_of(directory, manifest.generation).relative_to(directory)
        for name, leads in {CURRENT: str(target), **LINKS}.items():
            if not leads_to(directory / name, leads):
                yield f"{name} is not a link to {leads}"
    for table in TABLES:
        folder = directory / table
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        listed = {Path(manifest.name(table, part)).name for part in manifest.parts}
        strays = sorted(name for name in there - listed if name.endswith(".parquet"))
        if strays:
            yield (
                f"{table}/{strays[0]} does not belong to these results, but plain "
                "readers include it"
            )


def repair(directory: Path) -> Findings:
    """Set damaged parts aside, under `broken/`, and return the findings before that.

    The next run analyses their recordings again. Intact parts are not changed, even if
    this is killed halfway.

    Raises:
        ResultsError: as in `verify`; or a run is writing here, or the directory cannot
            be written.
    """
    with open_results(directory).writer(read=False) as writer:
        manifest = writer.parts.manifest
        findings = _verify(directory, manifest)
        try:
            # Link a part in `broken` before it leaves the manifest, so that it has a
            # name at every moment.
            broken = [part for part in findings.problems if part]
            for part in broken:
                for table in TABLES:
                    path = directory / manifest.name(table, part)
                    aside = directory / BROKEN_FOLDER / table
                    name = f"{part}.parquet"
                    if path.exists() and not (aside / name).exists():
                        aside.mkdir(parents=True, exist_ok=True)
                        _second_name(path, aside / name)
                        sync_folder(aside)
            writer.parts.drop(broken)
        except OSError as error:
            raise ResultsError(
                f"{directory}: cannot be repaired: {error.strerror}; nothing was "
                "changed"
            ) from error
    return findings


def _second_name(path: Path, aside: Path) -> None:
    try:
        os.link(path, aside)
    except OSError:  # the file system has no links
        shutil.copy2(path, aside)


def compact(directory: Path) -> tuple[int, int]:
    """Merge small parts, and return the number of parts before and after.

    The rows stay the same. In an object store, parts that are no longer live are
    removed, except for those that were live until now.

    Raises:
        ResultsError: the directory contains no results, a part is damaged, a run is
            writing here, or the disk is full; what was live stays live.
    """
    with open_results(directory).writer(read=False) as writer:
        parts = writer.parts.manifest.parts
        if groups := list(_groups(parts)):
            writer.parts.merge(groups)
        writer.parts.forget_others(but_last=True)
        return len(parts), len(writer.parts.manifest.parts)


def _groups(parts: dict[str, dict[str, int]]) -> Iterator[list[str]]:
    """Yield groups of two or more neighbouring parts that fit into one."""
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
    """Yield problems in reading the files of a part; put the others in `tables`."""
    size = 0
    for name, schema in table_schemas(manifest.identity.labels).items():
        try:
            path = manifest.file(directory, name, part)
        except FileNotFoundError:
            yield f"{name} is missing"
            continue
        except OSError as error:
            raise ResultsError(
                f"{directory}: cannot be read: {error.strerror}. Nothing was changed"
            ) from error
        try:
            size += path.stat().st_size
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
        except FileNotFoundError:
            yield f"{name} is missing"
        except PermissionError as error:
            raise ResultsError(
                f"{path}: permission denied; let this user read it. Nothing was changed"
            ) from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            yield f"{name} cannot be read: {error}"
        else:
            if table.schema.equals(schema):
                tables[name] = table
            else:
                yield f"{name} has a different schema"
    if len(tables) == len(TABLES):
        if size != stated["bytes"]:
            yield f"its files have {size} bytes, the manifest gives {stated['bytes']}"
        elif "crc32" in stated and manifest.crc32(directory, part) != stated["crc32"]:
            yield "its checksum does not match the manifest"


def _wrong_rows(
    tables: dict[str, pa.Table], labels: tuple[str, ...], stated: int
) -> Iterator[str]:
    recordings, segments = tables["recordings"], tables["segments"]
    if recordings.num_rows != stated:
        yield f"{recordings.num_rows} recordings, the manifest gives {stated}"
    ids = recordings["recording_id"].to_pylist()
    if len(set(ids)) < len(ids):
        yield "a recording is duplicated"
    lengths = dict(zip(ids, recordings["duration_s"].to_pylist(), strict=True))
    done = {
        i
        for i, status in zip(ids, recordings["status"].to_pylist(), strict=True)
        if status == "done"
    }
    if set(recordings["status"].to_pylist()) - {"done", "failed", "duplicate"}:
        yield "a status is not done, failed or duplicate"
    copies = pc.equal(recordings["status"], "duplicate")
    if not copies.equals(pc.is_valid(recordings["duplicate_of"])):
        yield "duplicate_of does not match the duplicates"
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
            yield (
                f"{name} has rows without "
                f"{' or '.join(c for c in needed if table[c].null_count)}"
            )
            return
        owners = table["recording_id"].to_pylist()
        if set(owners) - done:
            yield f"{name} has rows of a recording that is missing or failed"
        starts, ends = table["start_s"].to_pylist(), table["end_s"].to_pylist()
        for owner, start_s, end_s in zip(owners, starts, ends, strict=True):
            length_s = lengths.get(owner)
            if not 0 <= start_s < end_s or (
                length_s is not None and end_s > length_s + SLACK_S
            ):
                yield (
                    f"{name} of {owner} from {start_s} s to {end_s} s is not within "
                    f"its recording of {length_s} s"
                )
                break
        if table.num_rows and pc.min(table["channel"]).as_py() < 0:
            yield f"{name} has a channel below 0"
        if set(table["role"].to_pylist()) - {"agent", "customer", None}:
            yield f"{name} has a role that is not agent or customer"
    counts = dict(zip(ids, recordings["segments"].to_pylist(), strict=True))
    counted = {
        v["values"]: v["counts"]
        for v in pc.value_counts(segments["recording_id"]).to_pylist()
    }
    for recording_id in done:
        if (counts[recording_id] or 0) != counted.get(recording_id, 0):
            yield (
                f"{recording_id} should have {counts[recording_id]} segments but has "
                f"{counted.get(recording_id, 0)}"
            )
            break
    if segments.num_rows and labels:
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
    if segments.num_rows:
        if set(segments["label"].to_pylist()) - {*labels, None}:
            yield "a label is not one of the model's"
        numbers = list(
            zip(
                segments["recording_id"].to_pylist(),
                segments["segment"].to_pylist(),
                strict=True,
            )
        )
        if len(set(numbers)) < len(numbers):
            yield "a segment is duplicated"

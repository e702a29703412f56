"""Permanent removal of recordings, and updates of their locations."""

import os
import shutil
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from ser_batch.errors import UsageError
from ser_batch.results.results import Results, open_results
from ser_batch.storage.checkout import checkout_of
from ser_batch.text import printable

REFRESH_FOLDER = ".refresh"
"""Where `ser profile refresh` keeps new rows until they are complete."""

Row = dict[str, Any]
_COLUMNS = (
    "recording_id",
    "path",
    "location",
    "duplicate_of",
    "modified_at",
    "analyzed_at",
)


def chosen(
    results: Results,
    ids: Collection[str] = (),
    paths: Collection[str] = (),
    before: datetime | None = None,
) -> list[Row]:
    """Return the recordings that match any of the criteria, each with its copies.

    Args:
        results: the results that contain them.
        ids: recording ids.
        paths: as in the results, or absolute.
        before: matches files last modified before this; if that is unknown, those
            analysed before it.

    Raises:
        UsageError: an id or a path matches no recording.
    """
    rows = results.read("recordings", _COLUMNS).to_pylist()
    places = {printable(path) for path in paths}
    places |= {printable(os.path.realpath(path)) for path in paths}

    def is_named(row: Row) -> bool:
        then = row["modified_at"] or row["analyzed_at"]
        return (
            row["recording_id"] in ids
            or not places.isdisjoint((row["path"], row["location"]))
            or (before is not None and then < before)
        )

    named = [row for row in rows if is_named(row)]
    _check_all_are_named(results, named, ids, paths)
    originals = {row["duplicate_of"] or row["recording_id"] for row in named}
    return [
        row for row in rows if (row["duplicate_of"] or row["recording_id"]) in originals
    ]


def forget(directory: Path, choose: Callable[[Results], list[Row]]) -> list[Row]:
    """Remove all rows of recordings, and their call metadata, for good and in one step.

    Args:
        directory: the results directory.
        choose: returns the recordings to remove; called when the directory is locked.

    Returns:
        The recordings that were removed.

    Raises:
        ResultsError: the directory cannot be written, or another run is writing to it;
            no row is removed.
    """
    with open_results(directory).writer() as writer:
        results = open_results(directory)
        try:
            rows = choose(results)
        except UsageError:
            # They may have been forgotten by a run that was killed before it ended.
            writer.parts.forget_others()
            raise
        ids = {row["recording_id"] for row in rows}
        if not ids:
            return rows
        # First remove what could bring rows back, or reveal them.
        shutil.rmtree(directory / REFRESH_FOLDER, ignore_errors=True)
        # In a store, where nothing is locked, the rows may have to stay.
        stored = checkout_of(directory) is not None
        metadata = results.metadata
        if metadata is not None:
            metadata = metadata[~metadata.recording_id.isin(ids)]
            if not stored:
                results.write_metadata(metadata)
        writer.amend({}, ids)
        if metadata is not None and stored:
            results.write_metadata(metadata)
        writer.parts.forget_others()
    return rows


def relocate(directory: Path, old: str, new: str) -> int:
    """Update the locations of recordings below a renamed folder; return how many.

    No audio is read.

    Raises:
        UsageError: no recording is below `old`, or two would have the same location.
        ResultsError: the directory cannot be written, or another run is writing to it.
    """
    before, after = printable(os.path.abspath(old)), printable(os.path.realpath(new))
    with open_results(directory).writer() as writer:
        known = writer.known
        changes: dict[str, dict[str, str]] = {}
        for recording_id, own in known.items():
            if not _is_below(own.location, before):
                continue
            changes[recording_id] = {"location": after + own.location[len(before) :]}
            if _is_below(own.input_root, before):
                root = after + own.input_root[len(before) :]
                changes[recording_id] |= {"input_root": root}
            else:
                path = own.location[len(before) :].lstrip("/")
                changes[recording_id] |= {"input_root": after, "path": path}
        if not changes:
            raise UsageError(
                f"{directory}: contains no recording below {before}", path=directory
            )
        taken = {own.location for i, own in known.items() if i not in changes}
        for change in changes.values():
            if change["location"] in taken:
                raise UsageError(
                    f"{change['location']}: already in the results; forget one of the "
                    "two first (ser forget)",
                    path=directory,
                )
        writer.amend(changes)
    return len(changes)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _check_all_are_named(
    results: Results,
    named: Collection[Row],
    ids: Collection[str],
    paths: Collection[str],
) -> None:
    known = {row["recording_id"] for row in named}
    places = {row[column] for row in named for column in ("path", "location")}
    for given in ids:
        if given not in known:
            raise UsageError(f"{results.directory}: contains no recording {given}")
    for path in paths:
        if places.isdisjoint((printable(path), printable(os.path.realpath(path)))):
            raise UsageError(
                f"{results.directory}: contains no recording {printable(path)}: give "
                "paths as `ser report` shows them, or absolute paths"
            )

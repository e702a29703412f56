"""Search for recordings in files, folders, globs and lists."""

import glob
import os
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

import numpy as np

from ser_batch.errors import UsageError
from ser_batch.garbage import collection_paused
from ser_batch.sources.formats import HEAD_BYTES, has_signature, named_as_audio
from ser_batch.sources.source import Found, Recording, Stamp
from ser_batch.text import printable

_TEMPORARY_SUFFIXES = (
    ".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", ".bak",
    "~",
)  # fmt: skip


@collection_paused()
def find_recordings(inputs: Iterable[str]) -> Found:
    """Find the recordings of files, folders, globs and `@list.txt` files, each once.

    Folders are searched recursively, through links too; hidden and temporary files are
    skipped. A file found in a folder or by a glob is a recording if its name or its
    first bytes indicate audio; a file that is named explicitly always is one.

    Raises:
        UsageError: an input does not exist or matches nothing.
    """
    found = Found()
    found.recordings = _distinct(list(_each(inputs, found)))
    found.recordings.sort(key=attrgetter("path"))
    found.recordings.sort(key=attrgetter("root"))
    return found


def _distinct(recordings: list[Recording]) -> list[Recording]:
    """Return each file once: under its name without links, if it has several."""
    locations = (hash(own.location) for own in recordings)
    hashes = np.fromiter(locations, np.int64, len(recordings))
    if len(np.unique(hashes)) == len(recordings):
        return recordings
    chosen: dict[str, Recording] = {}
    for recording in recordings:
        other = chosen.get(recording.location)
        if other is not None:
            # Whatever the order in which they were found.
            recording = min(other, recording, key=_preference)
        chosen[recording.location] = recording
    return list(chosen.values())


def _preference(recording: Recording) -> tuple[bool, Recording]:
    below = os.path.join(os.path.realpath(recording.root), recording.path)
    return below != recording.location, recording


def _located(root: str, path: str) -> Recording:
    """Return a recording whose path may contain links."""
    file = os.path.join(root, path)
    real = os.path.realpath(file)
    if real == file or not os.path.exists(real):
        real = ""
    return Recording(root, path, real)


def _each(inputs: Iterable[str], found: Found) -> Iterator[Recording]:
    for given in inputs:
        if given.startswith("@"):
            yield from _listed(given[1:], found)
        elif os.path.isdir(given):
            yield from _walk(os.path.abspath(given), found)
        elif os.path.lexists(given):
            folder, name = os.path.split(os.path.abspath(given))
            yield _located(folder, name)
        elif glob.has_magic(given):
            yield from _matches(given, found)
        else:
            raise UsageError(f"{printable(given)}: no such file or folder")


def _listed(name: str, found: Found) -> Iterator[Recording]:
    """Yield the recordings of a list of files and folders, one path per line.

    Relative paths are relative to the folder of the list.
    """
    try:
        lines = Path(name).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise UsageError(
            f"@{printable(name)}: the list cannot be read: {error.strerror}"
        ) from error
    base = os.path.dirname(os.path.abspath(name))
    for line in lines:
        if not line.strip():
            continue
        if b"://" in line:
            raise UsageError(
                f"@{printable(name)}: a list has paths on this machine; give addresses "
                "of object stores on the command line"
            )
        if b"\0" in line:
            raise UsageError(
                f"@{printable(name)}: not a list of paths in UTF-8, one per line"
            )
        path = os.path.normpath(os.path.join(base, os.fsdecode(line.strip())))
        # A file outside the list's folder gets its full path, so that names may repeat.
        root = base if path.startswith(base + os.sep) else os.path.abspath(os.sep)
        if os.path.isdir(path):
            yield from _walk(path, found, root)
        else:
            yield _located(root, os.path.relpath(path, root))


def _matches(pattern: str, found: Found) -> Iterator[Recording]:
    fixed = pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)]
    root = os.path.abspath(os.path.dirname(fixed) or ".")
    # The ** of pathlib does not follow links, which may form cycles.
    matches = sorted(
        map(str, Path(root).glob(os.path.relpath(os.path.abspath(pattern), root)))
    )
    if not matches:
        raise UsageError(f"{pattern}: matches nothing")
    for match in matches:
        path = os.path.abspath(match)
        if os.path.isdir(path):
            yield from _walk(path, found, root)
        elif not is_temporary(os.path.basename(path)):
            if _is_recording(path):
                yield _located(root, os.path.relpath(path, root))
            else:
                found.ignored += 1


def _walk(folder: str, found: Found, root: str | None = None) -> Iterator[Recording]:
    root = root or folder
    n_root = len(root.rstrip(os.sep)) + 1
    # Links may form cycles, so each folder is visited once. They are followed last, so
    # that a folder is found under its own name rather than that of a link to it.
    visited: set[tuple[int, int] | str] = set()
    waiting, links = [(folder, os.path.realpath(folder))], list[str]()
    while waiting or links:
        if waiting:
            parent, real_parent = waiting.pop()
        else:
            parent = links.pop()
            real_parent = os.path.realpath(parent)
        identity = _identity(parent)
        if identity in visited:
            continue
        visited.add(identity)
        try:
            with os.scandir(parent) as listed:
                entries = [entry for entry in listed if not is_temporary(entry.name)]
        except OSError:
            found.unreadable.append(parent)
            continue
        for entry in entries:
            path = entry.path[n_root:]
            if entry.is_symlink():
                if os.path.isdir(entry.path):
                    links.append(entry.path)
                    continue
                recording = _located(root, path)
            # The listing knows folders from files, and one look at a file gives its
            # stamp: among millions of files, a system call each is what costs time.
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, os.path.join(real_parent, entry.name)))
                continue
            else:
                real = "" if parent == real_parent else f"{real_parent}/{entry.name}"
                recording = Recording(root, path, real, stamp=_stamp(entry))
            if named_as_audio(entry.name) or _has_signature(entry.path):
                yield recording
            else:
                found.ignored += 1


def _stamp(entry: "os.DirEntry[str]") -> Stamp | None:
    try:
        return Stamp.of(entry.stat(follow_symlinks=False))
    except OSError:
        return None


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a hidden or a temporary file."""
    return name.startswith((".", "~$")) or name.lower().endswith(_TEMPORARY_SUFFIXES)


def _identity(folder: str) -> tuple[int, int] | str:
    try:
        status = os.stat(folder)
    except OSError:
        return folder
    return status.st_dev, status.st_ino


def _is_recording(path: str) -> bool:
    """Whether the name or the first bytes of a file indicate audio."""
    return named_as_audio(os.path.basename(path)) or _has_signature(path)


def _has_signature(path: str) -> bool:
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return has_signature(file.read(HEAD_BYTES))
    except OSError:
        return False

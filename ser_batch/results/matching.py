"""Matching of recordings with those in the results: the same, moved, or copies.

A recording is recognised by its location; if that is new, by its content. Its id is
assigned when it is first seen, and is kept when the file moves.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from ser_batch.errors import AudioError
from ser_batch.garbage import collection_paused
from ser_batch.results.known import Known
from ser_batch.sources.formats import raw_format
from ser_batch.sources.source import Recording, Source, Stamp
from ser_batch.text import printable

HASHING_THREADS = 4
BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Copy:
    """A recording with the content of another one, which decodes in the same way."""

    recording: Recording
    stamp: Stamp
    content_hash: str
    original: str
    """The id of the other recording."""


@dataclass
class Matched:
    """The recordings of a run, each with its id."""

    unchanged: int = 0
    """The number of recordings that are in the results with the same stamp.

    They have not failed, and are not copies.
    """
    recordings: list[Recording] = field(default_factory=list)
    """All others except copies, in order."""
    moved: list[Recording] = field(default_factory=list)
    """Those of `recordings` whose location is no longer that of their rows."""
    copies: list[Copy] = field(default_factory=list)
    """Copies that are not in the results as such."""
    known_copies: int = 0
    """The number of copies that are."""
    replaced: list[str] = field(default_factory=list)
    """The ids of copies whose location has become that of the original."""


@collection_paused()
def match_recordings(
    found: Sequence[Recording], known: Known, source: Source
) -> Matched:
    """Match the recordings found with those in the results.

    A recording is matched by location, else by content: it has moved if the known
    location is gone, and is a copy if that still exists; otherwise it is new. Which of
    several new copies is analysed depends only on their locations, and a copy whose
    original is gone for good replaces it.
    """
    return _Matching(known, source).of(found)


class _Presence(Enum):
    """What is found of a known recording."""

    HERE = "here"
    GONE = "gone"
    UNSEEN = "unseen"
    """Its input cannot be reached."""
    CHANGED = "changed"
    """Its location has other content."""


_SEEN = {True: _Presence.HERE, False: _Presence.GONE, None: _Presence.UNSEEN}


class _Matching:
    def __init__(self, known: Known, source: Source) -> None:
        self.known, self.source = known, source
        self.matched = Matched()
        self.found: dict[str, Recording] = {}
        """By id, recordings found at their known location."""
        self.hashes: dict[Recording, str] = {}
        self.settled: set[str] = set()
        """Ids of recordings that are new, or have a new location: these are here."""
        self.promoted: dict[str, str] = {}
        """By the id of a changed original, that of the copy analysed instead."""

    def of(self, found: Sequence[Recording]) -> Matched:
        matched, new, copies = self.matched, list[Recording](), list[Recording]()
        for given, found_id in self._changed(found):
            recording = self._by_location(given, found_id)
            assigned = recording.assigned_id
            own = self.known.get(assigned) if assigned else None
            if own is None:
                new.append(recording)
                continue
            self.found[recording.assigned_id] = recording
            (copies if own.duplicate_of else matched.recordings).append(recording)
        self._hash(new, copies)
        for recording in sorted(copies, key=_location):
            self._match_copy(recording)
        self._match_new(sorted(new, key=_location))
        matched.recordings.sort(key=_order)
        return matched

    def _changed(
        self, found: Sequence[Recording]
    ) -> Iterator[tuple[Recording, str | None]]:
        """Yield the recordings that are not known to be unchanged.

        Each has its stamp, and comes with the id known for its location. In most runs,
        nearly all recordings are unchanged.
        """
        for start in range(0, len(found), BLOCK):
            block = [
                given if given.stamp else replace(given, stamp=self.source.stamp(given))
                for given in found[start : start + BLOCK]
            ]
            rows = self.known.rows_at([printable(given.location) for given in block])
            unchanged = self.known.unchanged(rows, [own.stamp for own in block])
            self.matched.unchanged += int(unchanged.sum())
            for i in np.flatnonzero(~unchanged):
                yield block[i], self.known.id_of(int(rows[i]))

    def _by_location(self, given: Recording, found_id: str | None) -> Recording:
        """Return a recording with the id and path known for it, if any.

        `found_id` is the id known for its location.
        """
        if found_id is None and (given.real or given.stamp is None):
            # A link is known by its own path if it was broken then, or is broken now.
            name = printable(given.file)
            broken = given.stamp is None
            found_id = self.known.linked.get(name) if broken else self.known.at(name)
        if found_id is None:
            return given
        own = self.known[found_id]
        if (own.input_root, own.path) != (given.root, given.path):
            first = os.path.join(own.input_root, own.path)
            # The printable form of a name is not always the name.
            if os.path.realpath(first) == given.location:
                real = "" if first == given.location else given.location
                given = Recording(own.input_root, own.path, real, stamp=given.stamp)
        return Recording(given.root, given.path, given.real, found_id, given.stamp)

    def _hash(self, new: Sequence[Recording], copies: Sequence[Recording]) -> None:
        """Hash new files that have the size of another, and copies that changed."""
        sizes = Counter(stamp.size_bytes for r in new if (stamp := r.stamp))
        sizes.update({size: self.known.count_of_size(size) for size in sizes})
        unsure = [
            recording
            for recording in new
            if (stamp := recording.stamp)
            and stamp.size_bytes
            and sizes[stamp.size_bytes] > 1
        ]
        unsure += [r for r in copies if not self.known[r.assigned_id].has(r.stamp)]
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            hashes = pool.map(self._content_hash, unsure)
            pairs = list(zip(unsure, hashes, strict=True))
        self.hashes = {recording: text for recording, text in pairs if text}

    def _content_hash(self, recording: Recording) -> str:
        try:
            return self.source.content_hash(recording)
        except (OSError, AudioError):
            return ""  # its analysis will report why

    def _match_copy(self, recording: Recording) -> None:
        """Match a known copy, given the state of its original."""
        matched, own = self.matched, self.known[recording.assigned_id]
        stamp, original = recording.stamp, own.duplicate_of or ""
        text = self.hashes.get(recording, own.content_hash or "")
        if text != own.content_hash:
            matched.recordings.append(recording)  # no longer a copy
            return
        sight = self._sight(original, text)
        if sight in (_Presence.HERE, _Presence.UNSEEN):
            matched.known_copies += 1
        elif sight is _Presence.GONE:
            self._settle(original, recording)
            matched.replaced.append(recording.assigned_id)
        # The original has changed: one copy replaces it, and others are copies of that.
        elif original in self.promoted and stamp:
            copy = Copy(recording, stamp, text, self.promoted[original])
            matched.copies.append(copy)
        else:
            self.promoted[original] = recording.assigned_id
            matched.recordings.append(recording)

    def _match_new(self, new: Sequence[Recording]) -> None:
        matched, taken = self.matched, set[str]()
        by_hash = defaultdict[str, list[str]](list)
        for content_hash, known_id in self.known.of_content(self.hashes.values()):
            by_hash[content_hash].append(known_id)
        paths = {i: self.known[i].path for own in by_hash.values() for i in own}
        for given in new:
            text, stamp = self.hashes.get(given, ""), given.stamp
            sights = {
                i: self._sight(i, text)
                for i in by_hash.get(text, ())
                if self._decodes_alike(given, paths[i])
            }
            moved = [i for i, sight in sights.items() if self._moved(i, sight, given)]
            same = [i for i, sight in sights.items() if sight is not _Presence.CHANGED]
            if moved:
                self._settle(moved[0], given)
                continue
            recording = given.assigned(self.known, taken)
            taken.add(recording.assigned_id)
            if same and stamp:
                matched.copies.append(Copy(recording, stamp, text, same[0]))
                continue
            paths[recording.assigned_id] = given.path
            # Copies of it that follow in this run are matched with it.
            if text:
                by_hash[text].append(recording.assigned_id)
            self.settled.add(recording.assigned_id)
            matched.recordings.append(recording)

    def _decodes_alike(self, recording: Recording, path: str) -> bool:
        """Return whether it is decoded like a file of its content named `path`."""
        head = self.source.head(recording)
        return bool(head) and raw_format(recording.path, head) == raw_format(path, head)

    def _settle(self, known_id: str, given: Recording) -> None:
        """Match a file with a known recording, whose rows get the file's location."""
        recording = replace(given, assigned_id=known_id)
        self.settled.add(known_id)
        self.matched.moved.append(recording)
        self.matched.recordings.append(recording)

    def _moved(self, known_id: str, sight: _Presence, given: Recording) -> bool:
        """Return whether a new file is a known recording that has moved."""
        if sight is _Presence.UNSEEN:
            # A whole tree has moved, and is found with the same relative paths.
            return self.known[known_id].path == printable(given.path)
        return sight is _Presence.GONE

    def _sight(self, known_id: str, text: str) -> _Presence:
        """Return what is found of a known recording with the content hash `text`."""
        if known_id in self.settled:
            return _Presence.HERE
        own = self.known.get(known_id)
        if own is None or own.content_hash != text:
            return _Presence.CHANGED
        if self.known.seen(known_id):
            return _Presence.HERE
        found = self.found.get(known_id)
        if found is None:
            is_there = self.source.is_there(own.location, own.input_root)
            return _SEEN[is_there]
        stamp = found.stamp
        if stamp is None:
            return _Presence.UNSEEN
        if own.has(stamp):
            return _Presence.HERE
        if found not in self.hashes:
            self.hashes[found] = self._content_hash(found)
        same = self.hashes[found] == text
        return _Presence.HERE if same else _Presence.CHANGED


def _location(recording: Recording) -> str:
    return recording.location


def _order(recording: Recording) -> tuple[str, str, str]:
    """Return what recordings are ordered by: quicker than comparing them."""
    return recording.root, recording.path, recording.assigned_id

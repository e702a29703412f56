"""Recordings, and the interface of the sources that they come from."""

import hashlib
import os
from collections.abc import Container, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = 253_402_300_799_000_000  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and modification time; if either changes, the content may have changed."""

    size_bytes: int
    modified_us: int
    """Microseconds since 1970: among millions of files, a datetime each is too much."""
    etag: str = ""
    """The entity tag of an object in a store; empty for a file."""

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the stamp of a file with this status."""
        # Modification times can be outside the range of datetime.
        microseconds = min(max(status.st_mtime_ns // 1000, 0), _LAST_MICROSECOND)
        return cls(status.st_size, microseconds)

    @property
    def modified_at(self) -> datetime:
        """The modification time, in UTC."""
        return _EPOCH + timedelta(microseconds=self.modified_us)


@dataclass(frozen=True, slots=True, order=True)
class Recording:
    """A file to analyse: where it was found, and its path below that."""

    root: str
    """The absolute path of the input that it was found in."""
    path: str
    """Its path below `root`, with `/` between folders."""
    real: str = field(default="", compare=False)
    """The path with links resolved; empty if it is the same as `file`."""
    assigned_id: str = ""
    """Its id in the results; empty until it has been looked up."""
    stamp: Stamp | None = field(default=None, compare=False)
    """Its stamp when it was found, if that was seen."""

    @property
    def file(self) -> str:
        """The path to open."""
        # As os.path.join, without its general cases: this is called for every file.
        return f"{self.root}/{self.path}" if self.root != "/" else f"/{self.path}"

    @property
    def location(self) -> str:
        """The absolute path of the file, with links resolved."""
        return self.real or self.file

    @property
    def recording_id(self) -> str:
        """The id assigned when first found; until then, a hash of `path`."""
        return self.assigned_id or _hash(self.path)

    def assigned(self, *taken: Container[str]) -> "Recording":
        """Return the recording with an id that is in none of the containers.

        If another recording has the hash of `path`, the location is hashed as well.
        """
        own, n = self.recording_id, 0
        while any(own in ids for ids in taken):
            own, n = _hash(f"{self.path}\0{self.location}\0{n}"), n + 1
        return replace(self, assigned_id=own)


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def with_ids(recordings: Iterable[Recording]) -> list[Recording]:
    """Assign an id to each recording, without consulting any results."""
    taken: set[str] = set()
    found = []
    for recording in recordings:
        found.append(recording.assigned(taken))
        taken.add(found[-1].assigned_id)
    return found


def in_shard(recording: Recording, number: int, n: int) -> bool:
    """Return whether a recording is in one of `n` shards, numbered from 1.

    By a hash of its path below its input, which is the same on every machine.
    """
    digest = hashlib.sha256(os.fsencode(recording.path)).digest()
    return int.from_bytes(digest[:8], "big") % n == number - 1


@dataclass
class Found:
    """The result of a search."""

    recordings: list[Recording] = field(default_factory=list)
    """Sorted, without duplicates."""
    ignored: int = 0
    """Files that are not audio."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that cannot be read."""


class Source(Protocol):
    """A store of recordings.

    `LocalSource` is the file system, `BucketSource` an object store; `sources_for` is
    both. Sources are sent to decoding processes, so they must be picklable.
    """

    def find(self, inputs: Iterable[str]) -> Found:
        """Find all recordings in the given inputs.

        Raises:
            UsageError: an input does not exist or matches nothing.
        """
        ...

    def stamp(self, recording: Recording) -> Stamp | None:
        """Return the current stamp of a recording, or None if it is gone."""
        ...

    def content_hash(self, recording: Recording) -> str:
        """Return a fingerprint of a recording's bytes, as hexadecimal digits.

        Raises:
            AudioError: the recording is not a regular file.
            OSError: the recording cannot be read.
        """
        ...

    def content_key(self, recording: Recording) -> str:
        """Return a quick fingerprint of the size and some bytes from the middle.

        It orders recordings by content without reading all of it. It is empty if the
        recording cannot be read.
        """
        ...

    def head(self, recording: Recording) -> bytes:
        """Return the first bytes of a recording; none if it cannot be read."""
        ...

    def is_there(self, location: str, root: str) -> bool | None:
        """Return whether a recording is still at its location.

        None if that cannot be told, as its input `root` cannot be reached.
        """
        ...

    def fetch(self, recording: Recording) -> AbstractContextManager[str]:
        """Provide a path at which decoders can open the recording within the block."""
        ...

"""A recording, and what can be asked of the source that holds it."""

import hashlib
import os
from collections.abc import Container, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Recording:
    """A file to analyse: where it was found, and the name it has below that."""

    root: str
    """The absolute path of the input that it was found in."""
    path: str
    """Its path below `root`, with `/` between folders."""
    real: str = field(default="", compare=False)
    """The path with links resolved; empty for `file` itself."""
    assigned_id: str = ""
    """The id that the results know it by; empty until they have been asked."""

    @property
    def file(self) -> str:
        """The path to open."""
        return os.path.join(self.root, self.path)

    @property
    def location(self) -> str:
        """The absolute path of the file, with links resolved."""
        return self.real or self.file

    @property
    def recording_id(self) -> str:
        """The id that was assigned at first sight; until then, a hash of `path`."""
        return self.assigned_id or _hash(self.path)

    def assigned(self, taken: Container[str]) -> "Recording":
        """Return the recording with an id that is not taken.

        Where another recording has the hash of `path`, the location shapes it too.
        """
        own, n = self.recording_id, 0
        while own in taken:
            own, n = _hash(f"{self.path}\0{self.location}\0{n}"), n + 1
        return replace(self, assigned_id=own)


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def with_ids(recordings: Iterable[Recording]) -> list[Recording]:
    """Return recordings with an id each, for where no results know them."""
    taken: set[str] = set()
    found = []
    for recording in recordings:
        found.append(recording.assigned(taken))
        taken.add(found[-1].assigned_id)
    return found


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file at one instant: when any of this changes, its content may have too."""

    size_bytes: int
    modified_at: datetime


@dataclass
class Found:
    """The result of a search."""

    recordings: list[Recording] = field(default_factory=list)
    """In order, each once."""
    ignored: int = 0
    """Files that are not audio."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that may not be read."""


class Source(Protocol):
    """A place that holds recordings.

    `LocalSource` is the file system; an object store would list a bucket and fetch an
    object for as long as it is being decoded. A source is sent to decoding processes,
    so it must pickle.
    """

    def find(self, inputs: Iterable[str]) -> Found:
        """Find all recordings of the given inputs.

        Raises:
            UsageError: an input does not exist or matches nothing.
        """
        ...

    def stamp(self, recording: Recording) -> Stamp | None:
        """Return the present stamp of a recording, or None where it is gone."""
        ...

    def content_hash(self, recording: Recording) -> str:
        """Return a fingerprint of a recording's bytes, as hexadecimal digits.

        Raises:
            AudioError: it is not a file.
            OSError: it cannot be read.
        """
        ...

    def content_key(self, recording: Recording) -> str:
        """Return a quick fingerprint of size and of some bytes from the middle.

        It orders recordings by their content without reading them; empty where the
        recording cannot be read.
        """
        ...

    def fetch(self, recording: Recording) -> AbstractContextManager[str]:
        """Give a path at which decoders can open the recording within the block."""
        ...

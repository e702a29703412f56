"""A recording, and what a place that holds recordings can be asked for."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Recording:
    """A file to analyse: where it was found, and the name it has below that."""

    root: str
    """The absolute path of the input that it was found in."""
    path: str
    """Its path below `root`, with `/` between folders."""

    @property
    def file(self) -> str:
        """The path to open."""
        return os.path.join(self.root, self.path)

    @property
    def recording_id(self) -> str:
        """A hash of `path`: the same recording in a moved folder keeps its id."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]


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

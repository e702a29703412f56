"""Recordings on this machine and in object stores, in one run."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import attrgetter

from ser_batch.sources.bucket import BucketSource
from ser_batch.sources.local import LocalSource
from ser_batch.sources.source import Found, Recording, Stamp
from ser_batch.storage.objects import is_address, storage_options


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The file system, and object stores by their addresses. See `Source`."""

    local: LocalSource = field(default_factory=LocalSource)
    buckets: BucketSource = field(default_factory=BucketSource)

    def find(self, inputs: Iterable[str]) -> Found:
        """Find the recordings of all inputs, each once."""
        given = list(inputs)
        addresses = [text for text in given if is_address(text)]
        if not addresses:
            return self.local.find(given)
        paths = [text for text in given if not is_address(text)]
        found = self.local.find(paths) if paths else Found()
        objects = self.buckets.find(addresses)
        distinct = {own.file: own for own in reversed(objects.recordings)}
        found.recordings += distinct.values()
        found.recordings.sort(key=attrgetter("root", "path"))
        found.ignored += objects.ignored
        return found

    def stamp(self, recording: Recording) -> Stamp | None:
        """Return its current stamp, or None if it is gone."""
        return self._of(recording.root).stamp(recording)

    def content_hash(self, recording: Recording) -> str:
        """Return a fingerprint of its bytes."""
        return self._of(recording.root).content_hash(recording)

    def content_key(self, recording: Recording) -> str:
        """Return a quick fingerprint."""
        return self._of(recording.root).content_key(recording)

    def head(self, recording: Recording) -> bytes:
        """Return its first bytes."""
        return self._of(recording.root).head(recording)

    def is_there(self, location: str, root: str) -> bool | None:
        """Return whether it is still there; None if that cannot be told."""
        return self._of(root).is_there(location, root)

    def fetch(self, recording: Recording) -> AbstractContextManager[str]:
        """Provide a path at which decoders can open it."""
        return self._of(recording.root).fetch(recording)

    def _of(self, root: str) -> "LocalSource | BucketSource":
        return self.buckets if is_address(f"{root}/") else self.local


def source_for(options: Sequence[str]) -> Everywhere:
    """Return where recordings are found.

    Args:
        options: `NAME=VALUE`, of object stores.

    Raises:
        UsageError: an option is not of this form, or a secret.
    """
    return Everywhere(buckets=BucketSource(storage_options(options)))

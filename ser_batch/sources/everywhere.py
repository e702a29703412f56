"""Recordings on this machine and in object stores, in one run."""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import attrgetter

from ser_batch.errors import UsageError
from ser_batch.sources.bucket import (
    SCHEMES,
    BucketSource,
    check_storage_options,
    is_address,
)
from ser_batch.sources.local import LocalSource
from ser_batch.sources.source import Found, Recording, Stamp

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The file system, and object stores by their addresses. See `Source`."""

    local: LocalSource = field(default_factory=LocalSource)
    buckets: BucketSource = field(default_factory=BucketSource)

    def find(self, inputs: Iterable[str]) -> Found:
        """Find the recordings of all inputs, each once."""
        given = list(inputs)
        for text in given:
            scheme = _SCHEME.match(text)
            if scheme and not is_address(text):
                # The rest is not repeated: it may contain a password.
                raise UsageError(
                    f"{scheme[0]}...: not an address of an object store; they begin "
                    f"with {', '.join(f'{own}://' for own in SCHEMES)}, and contain no "
                    "user or password"
                )
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


def source_for(storage_options: Sequence[str]) -> Everywhere:
    """Return where recordings are found.

    Args:
        storage_options: `NAME=VALUE`, of object stores.

    Raises:
        UsageError: an option is not of this form, or a secret.
    """
    options = []
    for text in storage_options:
        name, is_given, value = text.partition("=")
        if not (name and is_given):
            raise UsageError(
                f"--storage-option {text}: give NAME=VALUE, such as endpoint=ADDRESS",
                option="--storage-option",
            )
        options.append((name, value))
    check_storage_options(options)
    return Everywhere(buckets=BucketSource(tuple(options)))

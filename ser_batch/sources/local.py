"""The file system as a source of recordings."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ser_batch.errors import AudioError, FailureKind
from ser_batch.sources.formats import HEAD_BYTES
from ser_batch.sources.search import find_recordings
from ser_batch.sources.source import Found, Recording, Stamp

KEY_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Files and folders on this machine. See `Source` for the methods."""

    def find(self, inputs: Iterable[str]) -> Found:
        """Find the recordings of files, folders, globs and `@list.txt` files."""
        return find_recordings(inputs)

    def stamp(self, recording: Recording) -> Stamp | None:
        """Return size and modification time, or None if the file is gone."""
        try:
            return Stamp.of(os.stat(recording.file))
        except OSError:
            return None

    def content_hash(self, recording: Recording) -> str:
        """Return the BLAKE2b of the file's bytes, 32 hexadecimal digits."""
        if not os.path.isfile(recording.file):
            os.stat(recording.file)
            raise AudioError(
                "a pipe or a device, not a regular file: copy its content to a file",
                FailureKind.NOT_AUDIO,
            )
        with open(recording.file, "rb") as stream:
            digest = hashlib.file_digest(
                stream, lambda: hashlib.blake2b(digest_size=16)
            )
        return digest.hexdigest()

    def content_key(self, recording: Recording) -> str:
        """Return the BLAKE2b of the size and of `KEY_BYTES` from the middle."""
        try:
            if not os.path.isfile(recording.file):
                return ""
            with open(recording.file, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                stream.seek(max(0, size // 2 - KEY_BYTES // 2))
                middle = stream.read(KEY_BYTES)
        except OSError:
            return ""
        return hashlib.blake2b(middle + str(size).encode(), digest_size=16).hexdigest()

    def head(self, recording: Recording) -> bytes:
        """Return the first bytes of the file; none if it cannot be read."""
        try:
            with open(recording.file, "rb") as stream:
                return stream.read(HEAD_BYTES)
        except OSError:
            return b""

    def is_there(self, location: str, root: str) -> bool | None:
        """Return whether there is a file; None if that cannot be told."""
        try:
            os.stat(location)
            return True
        except (FileNotFoundError, NotADirectoryError):
            # A name that had to be escaped is not the file's real name.
            plain = "\\" not in location
            return False if plain and os.path.isdir(root) else None
        except (OSError, ValueError):
            return None

    @contextmanager
    def fetch(self, recording: Recording) -> Iterator[str]:
        """Yield the file's own path."""
        yield recording.file

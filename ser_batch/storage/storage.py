"""Where results and bundles are kept: named bytes, each whole or not there at all."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import IO, Protocol


class Storage(Protocol):
    """Named bytes that survive a crash.

    `LocalStorage` keeps them in a folder; an object store would keep them in a bucket.
    Names are relative paths with `/` between folders. All methods raise OSError where
    the storage fails; what was there before stays.
    """

    def read(self, name: str) -> bytes:
        """Return what is kept under a name."""
        ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Keep several files; all are written before any takes its name."""
        ...

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that takes its name once the block has ended well."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Keep a file unless there is one of this name; return whether it was kept."""
        ...

    def list(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, hidden ones too."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

"""The interface of storage for results and bundles: named bytes, complete or absent."""

import builtins
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol


class Storage(Protocol):
    """Named bytes that survive a crash.

    `LocalStorage` keeps them in a folder, `Checkout` in an object store.
    Names are relative paths with `/` between folders. All methods raise OSError if the
    storage fails, and leave existing content unchanged.
    """

    def read(self, name: str) -> bytes:
        """Return the content stored under a name."""
        ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write several files; all are complete before any gets its final name."""
        ...

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that gets its final name when the block ends without error."""
        ...

    def paths(self, names: Sequence[str]) -> "builtins.list[Path]":
        """Return local paths of files; what is elsewhere is copied there."""
        ...

    def list(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, including hidden ones."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        ...

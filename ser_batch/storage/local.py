"""A local folder as storage: fsync, then rename."""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class LocalStorage:
    """Files in a folder. See `Storage` for the guarantees of each method."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.root / name).read_bytes()

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files; all are on disk before any gets its final name."""
        paths = {self.root / name: data for name, data in files.items()}
        try:
            for path, data in paths.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with _partial(path).open("wb") as file:
                    file.write(data)
                    _sync(file)
            for path in paths:
                os.replace(_partial(path), path)
        except OSError:
            for path in paths:
                _partial(path).unlink(missing_ok=True)
            raise
        for folder in {path.parent for path in paths}:
            sync_folder(folder)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that gets its final name when the block ends without error."""
        path = self.root / name
        partial = _partial(path)
        try:
            with partial.open("wb") as file:
                yield file
                _sync(file)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that only its owner can read, unless it exists."""
        path = self.root / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                _sync(file)
        except OSError:
            path.unlink()
            raise
        return True

    def paths(self, names: Sequence[str]) -> list[Path]:
        """Return the paths of files, which may not exist."""
        return [self.root / name for name in names]

    def list(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, including hidden ones."""
        return [entry.name for entry in (self.root / folder).iterdir()]

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        (self.root / name).unlink(missing_ok=True)


def crc32_of(path: Path, crc: int = 0) -> int:
    """Return the CRC-32 (ISO 3309) of a file's content, continued from `crc`.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def sync_folder(folder: Path) -> None:
    """Flush changed file names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())

"""Disks and processes that fail at a chosen instant, for tests of atomic commits."""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Operation(NamedTuple):
    """A file system operation."""

    name: str
    site: tuple[tuple[str, int], ...]
    """The lines of the package that led to it."""


class Crash(BaseException):
    """The process has died: none of its later operations happen."""


class Fault(StrEnum):
    """A fault at a file system operation."""

    kill = "the process is killed before the operation"
    torn_write = "the process is killed halfway through a write"
    full = "the disk is full from here on"
    short_write = "the disk is full after half of a write"
    io_error = "an I/O error, once"


class FileSystem:
    """Counts the writing operations of Python, and makes number `at` fail.

    Every open for writing, write, flush, fsync, rename, unlink and link is an
    operation, and so is every folder that is made or removed.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        at: int | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.at, self.fault, self.dead = at, fault, False
        self.log: list[Operation] = []
        """The operations so far."""
        real_open, real_os_open = Path.open, os.open
        for owner, name in (
            (os, "fsync"), (os, "replace"), (os, "link"), (os, "symlink"),
            (Path, "unlink"), (Path, "mkdir"), (shutil, "rmtree"), (shutil, "copy2"),
        ):  # fmt: skip
            patch.setattr(owner, name, self._watched(name, getattr(owner, name)))

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode.startswith("r"):
                return real_open(path, mode, *args, **kwargs)
            assert "b" in mode, "writes to a text file would go unnoticed"
            # Unbuffered, so that each write reaches the disk on its own.
            return _WatchedFile(
                self, self.operation("open", lambda: real_open(path, mode, 0))
            )

        def os_opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            name = "open" if flags & (os.O_WRONLY | os.O_RDWR) else "open to read"
            opening = partial(real_os_open, path, flags, *args, **kwargs)
            return self.operation(name, opening)

        patch.setattr(Path, "open", opened)
        patch.setattr(os, "open", os_opened)

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.operation(name, lambda: function(*args, **kwargs))

        return call

    def operation(
        self, name: str, do: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Do the operation, or let it fail; `half` does half of a write."""
        if self.dead:
            raise Crash
        self.log.append(Operation(name, _site()))
        seen = len(self.log)
        now, full = seen == self.at, self.fault in (Fault.full, Fault.short_write)
        if now and half and self.fault in (Fault.torn_write, Fault.short_write):
            half()
        if now and self.fault in (Fault.kill, Fault.torn_write):
            self.dead = True
            raise Crash
        if full and self.at is not None and (now or (half and seen > self.at)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if now and self.fault is Fault.io_error:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return do()


def _site() -> tuple[tuple[str, int], ...]:
    frame, lines = sys._getframe(), []
    while frame := frame.f_back:
        if (frame.f_globals.get("__package__") or "").startswith("ser_batch"):
            lines.append((frame.f_code.co_filename, frame.f_lineno))
    return tuple(lines)


UNSEEN = ("open to read", "flush", "fsync")
"""Operations that leave the files as they are."""
FREEING = ("unlink", "rmtree")


def instants(log: Sequence[Operation], fault: Fault) -> list[int]:
    """Return the numbers of the operations to fail at.

    Of several writes in a row, these are the first, one in the middle and the last.
    Faults of writing apply to writes only, and a full disk does not prevent a removal.
    An error that the program sees is tried the first and the last time that the program
    comes to the same place; a kill, after every operation that changes a file.
    """
    writes = []
    for name, group in groupby(enumerate(log, 1), key=lambda entry: entry[1].name):
        if name == "write":
            numbers = [number for number, _ in group]
            writes += [numbers[0], numbers[len(numbers) // 2], numbers[-1]]
    others = {at: own for at, own in enumerate(log, 1) if own.name != "write"}
    chosen: Iterable[int] = ()
    if fault is Fault.kill:
        chosen = [at for at in others if at == 1 or log[at - 2].name not in UNSEEN]
    elif fault in (Fault.io_error, Fault.full):
        failing = {
            at: own
            for at, own in others.items()
            if fault is Fault.io_error or own.name not in FREEING
        }
        places: dict[Operation, list[int]] = {}
        for at, own in failing.items():
            places.setdefault(own, []).append(at)
        chosen = [at for same in places.values() for at in (same[0], same[-1])]
    return sorted({*writes, *chosen})


def power_cuts(log: Sequence[Operation]) -> list[int]:
    """Return the numbers of the operations before which the power is to fail.

    What is on disk then differs only after an `fsync`, and after a file was opened for
    writing, whose contents are no longer certain.
    """
    changed = [at for at, own in enumerate(log, 2) if own.name in ("open", "fsync")]
    return sorted({1, *changed, len(log) + 1})


class _WatchedFile:
    """An open file whose writes are operations."""

    def __init__(self, system: FileSystem, raw: Any) -> None:
        self._system, self._raw = system, raw

    def write(self, data: Any) -> int:
        data = bytes(data)
        half = data[: len(data) // 2]
        self._system.operation(
            "write", lambda: self._raw.write(data), lambda: self._raw.write(half)
        )
        return len(data)

    def flush(self) -> None:
        self._system.operation("flush", self._raw.flush)

    def __enter__(self) -> "_WatchedFile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._raw.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class Disk:
    """Tracks which parts of a folder have reached the disk.

    The contents of a file are on disk when it was synced, and its name when its folder
    was synced. `after_a_power_cut` writes only this state to another folder.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int | str]] = {}
        """By folder, the inodes of its entries, or the targets of links."""
        self.folders: set[int] = set()
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                self._sync(path)
        real_fsync, real_open = os.fsync, Path.open

        def fsync(descriptor: int) -> None:
            real_fsync(descriptor)
            self._sync(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        def opened(path: Path, *args: Any, **kwargs: Any) -> Any:
            file = real_open(path, *args, **kwargs)
            if file.writable():
                # The inode may have been that of a deleted file.
                self.contents.pop(os.fstat(file.fileno()).st_ino, None)
            return file

        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "open", opened)

    def _sync(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self.folders.add(inode)
            entries = list(os.scandir(path))
            self.names[inode] = {
                entry.name: os.readlink(entry) if entry.is_symlink() else entry.inode()
                for entry in entries
            }
            self.folders |= {
                entry.inode()
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
            }
        else:
            self.contents[inode] = path.read_bytes()

    def after_a_power_cut(self, target: Path) -> Path:
        waiting = [(self.root.stat().st_ino, target)]
        while waiting:
            inode, folder = waiting.pop()
            folder.mkdir()
            for name, child in self.names.get(inode, {}).items():
                if isinstance(child, str):
                    (folder / name).symlink_to(child)
                elif child in self.folders:
                    waiting.append((child, folder / name))
                else:
                    (folder / name).write_bytes(self.contents.get(child, b""))
        return target

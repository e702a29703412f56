"""Folders in an object store, through a working copy on this machine.

    directory = results_folder("s3://bucket/results")     # a local folder, still empty
    storage_of(directory).paths(["segments/part-..."])    # is downloaded when needed

Objects other than the manifest are never changed, so a copy of one is never out of
date. The manifest is replaced by a conditional write: of two writers that began with
the same state, one wins.
"""

import builtins
import errno
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ser_batch.errors import UsageError
from ser_batch.storage.local import LocalStorage
from ser_batch.storage.objects import (
    as_os_errors,
    bucket_and_key,
    is_address,
    object_store,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

AT_ONCE = 8
"""Objects that are transferred at the same time."""
TRIES = 5
"""How often a conditional write is repeated if the store does not answer."""
PAUSE_S = 0.5

_open: dict[Path, "Checkout"] = {}


class Checkout:
    """A folder in an object store, and its working copy. See `Storage` for the methods.

    Attributes:
        address: `s3://bucket/folder`.
        directory: the working copy, which is removed when the process ends.
    """

    def __init__(self, address: str, options: tuple[tuple[str, str], ...]) -> None:
        self.address, self._options = address.rstrip("/"), options
        bucket, prefix = bucket_and_key(self.address)
        self._store: ObjectStore = object_store(bucket, options)
        self._prefix = f"{prefix}/" if prefix else ""
        self._copy = tempfile.TemporaryDirectory(prefix="ser-results-")
        self.directory = Path(self._copy.name)
        self._versions: dict[str, Any] = {}

    def read(self, name: str) -> bytes:
        """Return the content of an object."""
        import obstore

        with as_os_errors():
            return bytes(obstore.get(self._store, self._key(name)).bytes())

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write objects, one after the other."""
        import obstore

        for name, data in files.items():
            with as_os_errors():
                obstore.put(self._store, self._key(name), data)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file of the working copy; `upload` writes it to the store."""
        (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
        with LocalStorage(self.directory).writing(name) as file:
            yield file

    def upload(self, names: Iterable[str]) -> None:
        """Write files of the working copy to the store."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._upload, names):
                pass

    def _upload(self, name: str) -> None:
        import obstore

        with as_os_errors():
            obstore.put(self._store, self._key(name), self.directory / name)

    def list(self, folder: str) -> "builtins.list[str]":
        """Return the names of the objects in a folder."""
        return [*self.all_modified_at(folder)]

    def all_modified_at(self, folder: str) -> dict[str, int]:
        """Return the objects in a folder, and when they were written.

        Times are whole seconds of the store's clock: some stores give no more.
        """
        import obstore

        prefix = self._key(f"{folder}/")
        with as_os_errors():
            return {
                own["path"].removeprefix(prefix): int(own["last_modified"].timestamp())
                for page in obstore.list(self._store, prefix)
                for own in page
            }

    def modified_at(self, name: str) -> int:
        """Return when an object was written, as `all_modified_at` does."""
        import obstore

        with as_os_errors():
            found = obstore.head(self._store, self._key(name))
        return int(found["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        import obstore

        with suppress(FileNotFoundError), as_os_errors():
            obstore.delete(self._store, self._key(name))

    def paths(self, names: Sequence[str]) -> "builtins.list[Path]":
        """Return files of the working copy; those that are missing are downloaded."""
        missing = [own for own in names if not (self.directory / own).exists()]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._fetch, missing):
                pass
        return [self.directory / name for name in names]

    def _fetch(self, name: str) -> None:
        # Parts have at most about 64 MB.
        data = self.read(name)
        with self.writing(name) as file:
            file.write(data)

    def read_versioned(self, name: str) -> bytes:
        """Return the content of a JSON object with a `commit`, which `swap` refers to.

        Raises:
            ValueError: it is no such object.
        """
        import obstore

        with as_os_errors():
            found = obstore.get(self._store, self._key(name))
            data = bytes(found.bytes())
            self._versions[_commit(data)] = _version(found.meta)
        return data

    def swap(self, name: str, before: str, data: bytes) -> bool:
        """Replace a JSON object if its `commit` is still `before`; say if it was.

        If no answer arrives, the object itself says whether it was replaced.

        Args:
            name: the name of the object.
            before: a commit that was read or written here; empty if there is no object.
            data: the new content, with a `commit` of its own.

        Raises:
            OSError: the store cannot be reached.
        """
        after = _commit(data)
        for left in reversed(range(TRIES)):
            mode = self._versions[before] if before else "create"
            try:
                version = self._put_if(name, data, mode)
                if version is not None:
                    self._versions[after] = version
                    return True
            except PermissionError:
                raise
            except OSError:
                if not left:
                    raise
                time.sleep(PAUSE_S)
            # obstore, too, may have repeated a write whose answer was lost.
            try:
                found = _commit(self.read_versioned(name))
            except FileNotFoundError:
                found = ""
            if found != before:
                return found == after
        raise OSError("the store refuses every conditional write")

    def check_conditions(self) -> None:
        """Check that the store does not replace objects against the conditions.

        Raises:
            UsageError: it does, so two runs could replace each other's rows.
            OSError: it cannot be written.
        """
        name = f".probe-{secrets.token_hex(8)}"
        try:
            created = self._put_if(name, b"1", "create")
            again = self._put_if(name, b"2", "create")
            swapped = created and self._put_if(name, b"3", created)
            stale = swapped and self._put_if(name, b"4", created)
        finally:
            self.delete(name)
        if not created or again or not swapped or stale:
            raise UsageError(
                f"{self.address}: this store ignores or lacks conditional writes "
                "(If-Match, If-None-Match), so two runs could replace each other's "
                "rows. Choose a local --out, and copy it into the store after the run",
                option="--out",
            )

    def _put_if(self, name: str, data: bytes, mode: Any) -> Any:
        """Return the version of the object that was written; None if refused."""
        import obstore
        from obstore import exceptions

        refused = (exceptions.PreconditionError, exceptions.AlreadyExistsError)
        try:
            with as_os_errors():
                try:
                    written = obstore.put(
                        self._store, self._key(name), data,
                        mode=mode, use_multipart=False,
                    )  # fmt: skip
                except refused:
                    return None
        except FileNotFoundError:
            if mode == "create":
                raise FileNotFoundError(errno.ENOENT, "no such bucket") from None
            return None
        return _version(written)

    def _key(self, name: str) -> str:
        return self._prefix + name


def results_folder(
    given: str | os.PathLike[str], options: tuple[tuple[str, str], ...] = ()
) -> Path:
    """Return a results directory as a local path: for an address, its working copy.

    Args:
        given: a path, or the address of a folder in an object store.
        options: of the store; without them, the environment counts.

    Raises:
        UsageError: it is an address, but obstore is missing or does not accept it.
    """
    text = os.fspath(given)
    if not is_address(text):
        return Path(text)
    for known in _open.values():
        if known.address == text.rstrip("/"):
            return known.directory
    checkout = Checkout(text, options)
    _open[checkout.directory] = checkout
    return checkout.directory


def storage_of(directory: Path) -> "LocalStorage | Checkout":
    """Return the storage behind a results directory."""
    return _open.get(directory) or LocalStorage(directory)


def checkout_of(directory: Path) -> Checkout | None:
    """Return what a directory is the working copy of; None if it is none."""
    return _open.get(directory)


def name_of(directory: Path) -> str:
    """Return the address or the path by which the user knows a results directory."""
    return with_addresses(str(directory))


def with_addresses(text: str) -> str:
    """Return a message with the addresses in place of their working copies."""
    for directory, own in _open.items():
        text = text.replace(str(directory), own.address)
    return text


def _version(meta: Any) -> dict[str, Any]:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def _commit(data: bytes) -> str:
    return str(json.loads(data)["commit"])

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
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import filelock

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
HEEDED_S = 0.5
"""A signal is heeded within this time, whenever it comes."""
TRIES = 5
"""How often a conditional write is repeated if the store does not answer."""
PAUSE_S = 0.5
REMEMBERED = 50
"""How many commits an object names: its own, and those before it."""
YOUNG_S = 60.0
"""Working copies younger than this may not be locked yet."""
_PREFIX, _LOCK = "ser-results-", ".alive"

T = TypeVar("T")

_open: dict[Path, "Checkout"] = {}


class Checkout:
    """A folder in an object store, and its working copy. See `Storage` for the methods.

    Attributes:
        address: `s3://bucket/folder`.
        directory: the working copy, which is removed when the process ends; if that is
            killed, by the next one.
    """

    def __init__(self, address: str, options: tuple[tuple[str, str], ...]) -> None:
        self.address = address.rstrip("/")
        bucket, prefix = bucket_and_key(self.address)
        self._store: ObjectStore = object_store(bucket, options)
        self._prefix = f"{prefix}/" if prefix else ""
        _remove_abandoned()
        self._copy = tempfile.TemporaryDirectory(prefix=_PREFIX)
        self.directory = Path(self._copy.name)
        self._lock = filelock.FileLock(self.directory / _LOCK)
        self._lock.acquire()
        self._versions: dict[str, Any] = {}

    def read(self, name: str) -> bytes:
        """Return the content of an object."""
        return self._get(name)[0]

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write objects, one after the other."""
        for name, data in files.items():
            self._put(name, data)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file of the working copy; `upload` writes it to the store."""
        (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
        with LocalStorage(self.directory).writing(name) as file:
            yield file

    def upload(self, names: Iterable[str]) -> None:
        """Write files of the working copy to the store."""
        _for_each(names, lambda name: self._put(name, self.directory / name))

    def list(self, folder: str) -> "builtins.list[str]":
        """Return the names of the objects in a folder."""
        import obstore

        prefix = self._key(f"{folder}/")

        def listed() -> builtins.list[str]:
            return [
                own["path"].removeprefix(prefix)
                for page in obstore.list(self._store, prefix)
                for own in page
            ]

        with as_os_errors():
            return _interruptible(listed)

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        self.delete_all([name])

    def delete_all(self, names: Iterable[str]) -> None:
        """Delete objects, those that exist."""
        import obstore

        keys = [self._key(name) for name in names]
        with suppress(FileNotFoundError), as_os_errors():
            _interruptible(lambda: obstore.delete(self._store, keys))

    def paths(self, names: Sequence[str]) -> "builtins.list[Path]":
        """Return files of the working copy; those that are missing are downloaded."""
        missing = [own for own in names if not (self.directory / own).exists()]
        _for_each(missing, self._fetch)
        return [self.directory / name for name in names]

    def _fetch(self, name: str) -> None:
        # Parts have at most about 64 MB.
        data = self.read(name)
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)

    def read_versioned(self, name: str) -> bytes:
        """Return the content of a JSON object with `commits`, which `swap` refers to.

        Raises:
            ValueError: it is no JSON.
        """
        data, version = self._get(name)
        self._versions[newest(_commits(data))] = version
        return data

    def swap(self, name: str, before: str, data: bytes) -> bool:
        """Replace a JSON object if its newest commit is `before`; say if it was.

        If no answer arrives, the object itself says whether it was replaced.

        Args:
            name: the name of the object.
            before: a commit that was read or written here; empty if there is no object.
            data: the new content, with a commit of its own as the last of `commits`.

        Raises:
            OSError: the store cannot be reached.
        """
        after = newest(_commits(data))
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
                found = _commits(self.read_versioned(name))
            except FileNotFoundError:
                found = []
            except ValueError:
                return False
            if newest(found) != before:
                return after in found
        raise OSError(errno.EIO, "the store refuses every conditional write")

    def check_conditions(self) -> None:
        """Check that the store does not replace objects against the conditions.

        Raises:
            UsageError: it does, so two runs could replace each other's rows.
            OSError: it cannot be written.
        """
        name = f".probe-{secrets.token_hex(8)}"
        try:
            created = self._surely_put_if(name, b"1", "create")
            again = self._put_if(name, b"2", "create")
            swapped = created and self._surely_put_if(name, b"3", created)
            stale = swapped and self._put_if(name, b"4", created)
        finally:
            # A run needs no permission to delete for anything else.
            with suppress(OSError):
                self.delete(name)
        if not created or again or not swapped or stale:
            raise UsageError(
                f"{self.address}: this store ignores or lacks conditional writes "
                "(If-Match, If-None-Match), so two runs could replace each other's "
                "rows. Choose a local --out, and copy it into the store after the run",
                option="--out",
            )

    def _surely_put_if(self, name: str, data: bytes, mode: Any) -> Any:
        """Do as `_put_if`, though the answer to a write that was repeated is lost."""
        version = self._put_if(name, data, mode)
        if version is None:
            with suppress(FileNotFoundError):
                found, at = self._get(name)
                return at if found == data else None
        return version

    def _get(self, name: str) -> tuple[bytes, dict[str, Any]]:
        import obstore

        def got() -> tuple[bytes, dict[str, Any]]:
            found = obstore.get(self._store, self._key(name))
            return bytes(found.bytes()), _version(found.meta)

        with as_os_errors():
            return _interruptible(got)

    def _put(self, name: str, data: bytes | Path) -> None:
        import obstore

        with as_os_errors():
            _interruptible(lambda: obstore.put(self._store, self._key(name), data))

    def _put_if(self, name: str, data: bytes, mode: Any) -> dict[str, Any] | None:
        """Return the version of the object that was written; None if refused."""
        import obstore
        from obstore import exceptions

        def put() -> Any:
            return obstore.put(
                self._store, self._key(name), data, mode=mode, use_multipart=False
            )

        refused = (exceptions.PreconditionError, exceptions.AlreadyExistsError)
        try:
            with as_os_errors():
                try:
                    return _version(_interruptible(put))
                except refused:
                    return None
        except FileNotFoundError:
            if mode == "create":
                raise FileNotFoundError(errno.ENOENT, "no such bucket") from None
            return None

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
        UsageError: it is an address, but not of a folder, or obstore is missing or does
            not accept it.
    """
    text = os.fspath(given)
    if not is_address(text):
        return Path(text)
    for known in _open.values():
        if known.address == text.rstrip("/"):
            return known.directory
    _, key = bucket_and_key(text.rstrip("/"))
    if key and {"", ".", ".."} & set(key.split("/")):
        raise UsageError(f"{text}: no folder; give it without //, . and ..")
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


def newest(commits: Sequence[str]) -> str:
    """Return the last commit; an empty string if there is none."""
    return commits[-1] if commits else ""


def _commits(data: bytes) -> list[str]:
    """Return the commits that a JSON object names; none if it names no such thing."""
    values = json.loads(data)
    return list(values.get("commits", ())) if isinstance(values, dict) else []


def _version(meta: Any) -> dict[str, Any]:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def _remove_abandoned() -> None:
    """Remove the working copies of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, filelock.Timeout):
            if time.time() - folder.stat().st_mtime < YOUNG_S:
                continue
            with filelock.FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def _interruptible(call: Callable[[], T]) -> T:
    """Return the value of a call that may take long, unless Ctrl-C comes first.

    A store that hangs would otherwise keep the signal waiting.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    if threading.current_thread() is not threading.main_thread():
        return call()
    threading.Thread(target=run, daemon=True).start()
    while not future.done():
        # A signal that comes just before a wait begins does not end it.
        wait([future], timeout=HEEDED_S)
    return future.result()


def _for_each(names: Iterable[str], call: Callable[[str], None]) -> None:
    """Call a function for each name, `AT_ONCE` at a time; the first error is raised."""
    left = iter(names)
    lock, errors = threading.Lock(), list[BaseException]()

    def work() -> None:
        while not errors:
            with lock:
                name = next(left, None)
            if name is None:
                return
            try:
                call(name)
            except BaseException as error:
                errors.append(error)

    # Daemons, so that the end of the process does not wait for a store that hangs.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(HEEDED_S)  # as above
    if errors:
        raise errors[0]

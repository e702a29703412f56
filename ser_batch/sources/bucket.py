"""Object storage as a source of recordings: `s3://`, `gs://` and `az://`."""

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ser_batch.errors import UsageError
from ser_batch.sources.formats import HEAD_BYTES, named_as_audio
from ser_batch.sources.search import is_temporary
from ser_batch.sources.source import Found, Recording, Stamp
from ser_batch.storage.objects import (
    REPLACED,
    as_os_errors,
    bucket_and_key,
    object_store,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

IN_MEMORY_BYTES = 256 * 2**20
"""Larger objects are kept in a temporary file while they are decoded."""
CHUNK_BYTES = 4 * 2**20
RESUMES = 5
"""How often an object is read on from where its connection broke."""


@dataclass(frozen=True, slots=True)
class BucketSource:
    """Objects in buckets. See `Source` for the methods."""

    options: tuple[tuple[str, str], ...] = ()
    """Of the stores: `endpoint`, `region`, ..."""

    def find(self, inputs: Sequence[str]) -> Found:
        """Find the objects below prefixes, or single objects.

        Hidden and temporary names are skipped, and names that do not indicate audio:
        unlike files, objects are not opened to look at their first bytes.
        """
        found = Found()
        for given in inputs:
            if not self._add_below(given, found):
                _, key = bucket_and_key(given)
                if key and not key.endswith("/"):
                    found.recordings.append(self._single(given))
        return found

    def _add_below(self, given: str, found: Found) -> bool:
        """Add the recordings below a prefix; return whether there is anything."""
        bucket, prefix = bucket_and_key(given)
        store = self._store(bucket)  # says so if obstore is missing
        import obstore

        is_there = False
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        root = f"{bucket}/{prefix}".rstrip("/")
        with _told(given):
            for page in obstore.list(store, folder or None):
                for meta in page:
                    is_there = True
                    path = meta["path"].removeprefix(folder)
                    names = path.split("/")
                    if any(is_temporary(name) for name in names):
                        continue
                    if named_as_audio(names[-1]):
                        own = Recording(root, path, stamp=_stamp(meta))
                        found.recordings.append(own)
                    else:
                        found.ignored += 1
        return is_there

    def _single(self, given: str) -> Recording:
        folder, _, name = given.rpartition("/")
        recording = Recording(folder, name)
        try:
            return Recording(folder, name, stamp=self._stamp(recording))
        except FileNotFoundError:
            raise UsageError(f"{given}: no such object, and none below it") from None
        except OSError as error:
            raise UsageError(f"{given}: cannot be read: {error.strerror}") from error

    def stamp(self, recording: Recording) -> Stamp | None:
        """Return size, time and entity tag, or None if the object is gone."""
        try:
            return self._stamp(recording)
        except OSError:
            return None

    def _stamp(self, recording: Recording) -> Stamp:
        import obstore

        bucket, key = bucket_and_key(recording.file)
        with as_os_errors():
            return _stamp(obstore.head(self._store(bucket), key))

    def content_hash(self, recording: Recording) -> str:
        """Return the BLAKE2b of the object's bytes, 32 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        file = self._fetched(recording)
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def content_key(self, recording: Recording) -> str:
        """Return a hash of the size and the entity tag, without reading the object."""
        stamp = recording.stamp or self.stamp(recording)
        if stamp is None:
            return ""
        text = f"{stamp.size_bytes} {stamp.etag}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def head(self, recording: Recording) -> bytes:
        """Return the first bytes of the object; none if it cannot be read."""
        import obstore

        bucket, key = bucket_and_key(recording.file)
        with suppress(OSError), as_os_errors():
            found = obstore.get_range(
                self._store(bucket), key, start=0, length=HEAD_BYTES
            )
            return bytes(found)
        return b""

    def is_there(self, location: str, root: str) -> bool | None:
        """Return whether there is an object; None if the store cannot be reached."""
        import obstore

        folder, _, name = location.rpartition("/")
        bucket, _ = bucket_and_key(location)
        try:
            self._stamp(Recording(folder, name))
            return True
        except FileNotFoundError:
            with suppress(OSError), as_os_errors():
                # The bucket itself may be gone, or may not be seen any more.
                next(iter(obstore.list(self._store(bucket), chunk_size=1)), None)
                return False
            return None
        except OSError:
            return None

    @contextmanager
    def fetch(self, recording: Recording) -> Iterator[str]:
        """Yield a path with the object's name, behind which its bytes are in memory."""
        file = self._fetched(recording)
        with tempfile.TemporaryDirectory(prefix="ser-") as folder:
            # Decoders look at the end of the name.
            end = os.path.splitext(recording.path)[1][:16]
            path = os.path.join(folder, f"object{end}")
            os.symlink(f"/proc/{os.getpid()}/fd/{file.fileno()}", path)
            yield path

    def _fetched(self, recording: Recording) -> IO[bytes]:
        """Return the object's bytes.

        The last object of a thread stays in memory, since it is hashed first and
        decoded then.
        """
        stamp = self._stamp(recording)
        if getattr(_last, "object", None) != (recording.file, stamp):
            _last.file = _last.object = None  # the memory of the one before
            _last.file = self._read(recording, stamp)
            _last.object = recording.file, stamp
        file: IO[bytes] = _last.file
        return file

    def _read(self, recording: Recording, stamp: Stamp) -> IO[bytes]:
        """Return a file of the whole object; if a connection breaks, it is resumed."""
        import obstore

        bucket, key = bucket_and_key(recording.file)
        file = _temporary(stamp.size_bytes)
        options: Any = {}
        for left in reversed(range(RESUMES)):
            try:
                with as_os_errors():
                    done = file.tell()
                    if done:
                        options["range"] = {"offset": done}
                    got = obstore.get(self._store(bucket), key, options=options)
                    if _stamp(got.meta) != stamp:
                        raise OSError(errno.ESTALE, REPLACED)
                    if got.meta["e_tag"]:
                        options["if_match"] = got.meta["e_tag"]
                    for chunk in got.stream(min_chunk_size=CHUNK_BYTES):
                        file.write(chunk)
                break
            except FileNotFoundError:
                raise
            except OSError:
                if not left or file.tell() == done:
                    raise
        file.flush()
        return file

    def _store(self, bucket: str) -> "ObjectStore":
        return object_store(bucket, self.options)


_last = threading.local()


def _stamp(meta: Any) -> Stamp:
    # Many stores give milliseconds, or quotes around tags, in listings or in answers
    # about single objects, and not in both.
    seconds = int(meta["last_modified"].timestamp())
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return Stamp(meta["size"], seconds * 1_000_000, tag)


def _temporary(size_bytes: int) -> IO[bytes]:
    if size_bytes > IN_MEMORY_BYTES:
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create("object"), "w+b")


@contextmanager
def _told(given: str) -> Iterator[None]:
    try:
        with as_os_errors():
            yield
    except OSError as error:
        raise UsageError(f"{given}: cannot be listed: {error.strerror}") from None

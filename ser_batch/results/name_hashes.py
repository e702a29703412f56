"""Keyed hashes instead of names of files.

A plain hash would not be enough: anyone who knows how names are built, for example from
telephone numbers, could hash every candidate and compare.
"""

import hashlib
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath

from ser_batch.errors import UsageError
from ser_batch.storage.local import LocalStorage

KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """Return the key in a file; create it, readable by its owner only, if it is new.

    Raises:
        UsageError: the file cannot be read or created, or does not contain a key.
    """
    storage, key = LocalStorage(path.parent), secrets.token_bytes(KEY_BYTES)
    try:
        if storage.create(path.name, f"{key.hex()}\n".encode()):
            return key
        text = storage.read(path.name).decode("ascii").strip()
        if len(text) != 2 * KEY_BYTES:
            raise ValueError
        return bytes.fromhex(text)
    except OSError as error:
        raise UsageError(
            f"--hash-paths {path}: cannot read or create the key: {error.strerror}",
            path=path,
            option="--hash-paths",
        ) from error
    except ValueError:
        raise UsageError(
            f"--hash-paths {path}: not a key ({2 * KEY_BYTES} hexadecimal digits); to "
            "create one, name a file that does not exist yet",
            path=path,
            option="--hash-paths",
        ) from None


def hasher(key: bytes) -> Callable[[str], str]:
    """Return a function that hashes names: BLAKE2b with the key (RFC 7693).

    A hash has 16 hexadecimal digits; equal names have equal hashes.
    """

    @cache
    def hashed(name: str) -> str:
        return hashlib.blake2b(name.encode(), key=key, digest_size=8).hexdigest()

    return hashed


def hashed_path(path: str, hashed: Callable[[str], str]) -> str:
    """Return a path with each part hashed, so that a folder's files stay together.

    File extensions are not kept, since they may be part of a name.
    """
    return "/".join(hashed(name) for name in PurePosixPath(path).parts)

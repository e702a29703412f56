"""Object stores: `s3://`, `gs://` and `az://`, by obstore.

It retries what fails in between. Credentials come from the environment or the machine's
own identity, and never appear in a message.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ser_batch.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
REPLACED = "the object was replaced meanwhile"
RETRIES: Any = {
    "max_retries": 20,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {
        "base": 2,
        "init_backoff": timedelta(milliseconds=200),
        "max_backoff": timedelta(seconds=20),
    },
}
SECRET = re.compile(
    "key|secret|token|password|credential|sas|(?<!skip_)sign", re.IGNORECASE
)
_KEPT_SECRET = re.compile("AWS_.*(KEY|TOKEN)|GOOGLE_.*|AZURE_.*(KEY|TOKEN|SECRET)")
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://([^/@]+)(?:/(.*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_USER = re.compile(r"//[^/\s@]+@")


def is_address(text: str) -> bool:
    """Return whether an input or a location is in an object store.

    Raises:
        UsageError: it has the form of an address, but of something else.
    """
    if _ADDRESS.fullmatch(text):
        return True
    if scheme := _SCHEME.match(text):
        # The rest is not repeated: it may contain a password.
        raise UsageError(
            f"{scheme[0]}...: not an address of an object store; they begin with "
            f"{', '.join(f'{own}://' for own in SCHEMES)}, and contain no user or "
            "password"
        )
    return False


def bucket_and_key(address: str) -> tuple[str, str]:
    """Return `scheme://bucket`, and the key.

    >>> bucket_and_key("s3://calls/2026/a.wav")
    ('s3://calls', '2026/a.wav')
    """
    found = _ADDRESS.fullmatch(address)
    assert found is not None
    return f"{found[1]}://{found[2]}", found[3] or ""


def storage_options(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return options of a store, such as its endpoint, given as `NAME=VALUE`.

    Raises:
        UsageError: one is not of this form; or a secret, which would end up in
            `run.json`.
    """
    options = []
    for text in given:
        name, is_given, value = text.partition("=")
        if not (name and is_given):
            raise UsageError(
                f"--storage-option {text}: give NAME=VALUE, such as endpoint=ADDRESS",
                option="--storage-option",
            )
        if SECRET.search(name) or "@" in value:
            raise UsageError(
                f"--storage-option {name}: credentials come from the environment, such "
                "as AWS_ACCESS_KEY_ID, or from the machine's own identity",
                option="--storage-option",
            )
        options.append((name, value))
    return tuple(options)


@cache
def object_store(bucket: str, options: tuple[tuple[str, str], ...]) -> "ObjectStore":
    """Return the store of `s3://bucket`; each process has its own connections.

    Raises:
        UsageError: obstore is missing, or does not accept the address or an option.
    """
    if find_spec("obstore") is None:
        raise UsageError(f"{bucket} needs obstore: pip install 'ser-batch[cloud]'")
    from obstore.store import from_url

    config: Any = dict(options)
    given = [*config.values()]
    given += [os.environ.get(own, "") for own in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    plain = any(value.startswith("http://") for value in given)
    try:
        return from_url(
            bucket,
            config=config,
            client_options={"allow_http": plain},
            retry_config=RETRIES,
        )
    except Exception as error:
        raise UsageError(
            f"{bucket}: cannot be opened: {reason(error)}", option="--storage-option"
        ) from None


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Turn errors of a store into those that a file system has."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object") from None
    except (
        exceptions.PermissionDeniedError,
        exceptions.UnauthenticatedError,
    ) as error:
        raise PermissionError(errno.EACCES, reason(error)) from None
    except (exceptions.PreconditionError, exceptions.AlreadyExistsError):
        raise OSError(errno.ESTALE, REPLACED) from None
    except exceptions.BaseError as error:
        raise OSError(errno.EIO, reason(error)) from None


def reason(error: Exception) -> str:
    """Return the first line of a message, without what is secret in an address."""
    lines = str(error).splitlines() or [type(error).__name__]
    # The body of an answer may repeat what was sent.
    line, *_ = re.split(r"<\?xml|<Error", lines[0])
    for name, value in os.environ.items():
        if value and _KEPT_SECRET.fullmatch(name):
            line = line.replace(value, "***")
    return _USER.sub("//", _QUERY.sub(r"\1", line)).strip()[:300]

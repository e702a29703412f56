"""The connection of a run to a Ray cluster."""

import os
import signal
import socket
import threading
import warnings
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from ser_batch.errors import UsageError

CONNECT_S = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def connected(address: str | None) -> Any:
    """Return Ray, connected to a cluster, or started on this machine.

    Raises:
        UsageError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if is_open(address):
        warnings.warn(
            f"{address}: neither encrypted nor with a token: whoever can reach it can "
            "run code there. Set RAY_USE_TLS=1, or leave RAY_AUTH_MODE as it is",
            stacklevel=2,
        )

    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            # By default, Ray joins whatever cluster it finds on this machine.
            address=address or "local",
            include_dashboard=False if address is None else None,
            configure_logging=False,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from error
    finally:
        # Ray takes it over; to end a run is the run's own business.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return ray


def _no_cluster(address: str | None, error: Exception) -> UsageError:
    return UsageError(
        f"--ray-address {address}: no cluster: {first_line(error)}",
        option="--ray-address",
    )


def first_line(error: Exception) -> str:
    """Return the first line of a message, or the name of the error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_cluster(address: str | None) -> None:
    """Check that there is Ray, and somebody at its address.

    Ray itself would wait for minutes, after the first recordings are decoded.

    Raises:
        UsageError: there is not.
    """
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs ray: pip install 'ser-batch[cluster]'")
    parts = urlsplit(address if "://" in (address or "") else f"ray://{address or ''}")
    if parts.hostname and parts.port:
        where = str(parts.hostname), parts.port
        try:
            socket.create_connection(where, CONNECT_S).close()
        except OSError as error:
            raise _no_cluster(address, error) from error


def is_open(address: str | None) -> bool:
    """Return whether a connection to an address is neither local nor encrypted.

    >>> is_open("ray://localhost:10001"), is_open("auto"), is_open(None)
    (False, False, False)
    """
    if address is None or not address.startswith("ray://"):
        return False
    encrypted = os.environ.get("RAY_USE_TLS") == "1"
    has_token = os.environ.get("RAY_AUTH_MODE") != "disabled"
    return not (encrypted or has_token or urlsplit(address).hostname in LOOPBACK)

"""Wait for an event instead of a fixed time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

POLL_S = 0.005
GIVE_UP_S = 120.0
"""Much longer than a busy machine needs, so reaching it is a failure."""


T = TypeVar("T")


def wait_until(holds: Callable[[], object], what: str = "it happened") -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: If it does not hold after two minutes.
    """
    deadline = time.monotonic() + GIVE_UP_S
    while not holds():
        assert time.monotonic() < deadline, f"gave up waiting until {what}"
        time.sleep(POLL_S)


def wait_until_still(count: Callable[[], int]) -> int:
    """Return a count as soon as it has not changed for a fifth of a second."""
    seen, since = count(), time.monotonic()
    while time.monotonic() - since < 0.2:
        time.sleep(POLL_S)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
    return seen


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, though another test has left a loop running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

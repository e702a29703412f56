"""Closes idle connections, and those beyond the limit."""

import asyncio
import logging
import resource
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 1000
OTHER_FILES = 100
"""Files that the server needs besides its connections."""
REQUEST_S = 10.0
"""A connection must have made its request by then, also when it begins another."""
SAME_ERROR_S = 60.0

log = logging.getLogger("ser.live")


class PromptHttp(H11Protocol):
    """uvicorn's HTTP, without idle connections.

    It counts WebSockets, too; `limit_concurrency` is the number of connections.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, or close at once."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._request_due: asyncio.TimerHandle | None = None
        if len(self.connections) > (self.limit_concurrency or MOST_CONNECTIONS):
            transport.abort()
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Take data; a request that has begun must be complete in time."""
        super().data_received(data)
        self._expect_request()

    def _expect_request(self) -> None:
        if not self._waits_for_request:
            if self._request_due is not None:
                self._request_due.cancel()
            self._request_due = None
        elif self._request_due is None:
            self._request_due = self.loop.call_later(REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        if self._waits_for_request:
            self.transport.abort()

    @property
    def _waits_for_request(self) -> bool:
        is_http = self.transport.get_protocol() is self
        return is_http and (self.cycle is None or self.cycle.response_complete)


def most_connections() -> int:
    """Return how many connections there may be, after allowing as many files.

    A process may open as many files as its hard limit says; the usual limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(10, min(MOST_CONNECTIONS, soft - OTHER_FILES))


class Complaints:
    """Logs what goes wrong in a loop in one line, and the same once a minute."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        """Handle an error; see `loop.set_exception_handler`."""
        message, now = str(context["message"]), time.monotonic()
        if now - self._last.get(message, -SAME_ERROR_S) < SAME_ERROR_S:
            return
        self._last[message] = now
        log.error("%s: %r", message, context.get("exception"))

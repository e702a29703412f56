"""The final events of all calls, sent to an address of somebody's choice.

Requests are signed by the Standard Webhooks specification (www.standardwebhooks.com),
so that receivers can check them with its libraries.
"""

import asyncio
import base64
import hmac
import json
import logging
import secrets
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx

from ser_batch.addresses import LOOPBACK
from ser_batch.errors import UsageError
from ser_batch.live.server.metrics import Metrics
from ser_batch.version import __version__

TYPE = "call.events"
MOST_WAITING = 10_000
"""Events that wait to be sent; of more, the oldest are left out."""
MOST_SENT = 100
"""Events in one request."""
GATHERED_S = 1.0
"""Events wait this long for others, unless they already fill a request."""
ANSWERED_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Before the next attempt: doubled each time."""
LATER = (408, 425, 429)
"""Refusals that may not be the last word, as are those from 500 on."""
SECRET_PREFIX, SECRET_BYTES = "whsec_", (24, 64)

log = logging.getLogger("ser.live")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events are sent, and the secret with which they are signed.

    Raises:
        UsageError: the address is not one, or would send what is said of calls
            unencrypted to another machine; or the secret is not one.
    """

    url: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str, secret: str, insecure: bool = False) -> "Receiver":
        """Check an address and a secret, which is `whsec_` and base64."""
        try:
            parts = httpx.URL(url)
            scheme, host = parts.scheme, parts.host
        except (httpx.InvalidURL, ValueError):
            scheme = host = ""
        if scheme not in ("http", "https") or not host:
            raise UsageError(
                f"--webhook {url}: not an address such as https://example.com/calls",
                option="--webhook",
            )
        if scheme == "http" and not (host in LOOPBACK or insecure):
            raise UsageError(
                f"--webhook {url}: the events of calls would be sent unencrypted; use "
                "https",
                option="--webhook",
            )
        try:
            encoded = secret.removeprefix(SECRET_PREFIX)
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        least, most = SECRET_BYTES
        if not (secret.startswith(SECRET_PREFIX) and least <= len(key) <= most):
            raise UsageError(
                f"SER_WEBHOOK_SECRET must be {SECRET_PREFIX} followed by {least} to "
                f"{most} bytes in base64; to make one: "
                f"echo {SECRET_PREFIX}$(openssl rand -base64 32)",
                option="--webhook",
            )
        return cls(url, key)

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """Return the headers that sign a message, for an attempt made now."""
        now = str(int(time.time()))
        signed = f"{message_id}.{now}.".encode() + body
        signature = base64.b64encode(hmac.digest(self.key, signed, sha256)).decode()
        return {
            "Content-Type": "application/json",
            "User-Agent": f"ser/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{signature}",
        }


class Webhook:
    """Sends events, in their order, one request at a time.

    A request that fails is repeated until it succeeds, while a bounded number of events
    waits. One that the receiver refuses for good is left out: it must not hold up the
    rest.
    """

    def __init__(self, receiver: Receiver, metrics: Metrics) -> None:
        self._receiver, self._metrics = receiver, metrics
        self._waiting: deque[dict[str, Any]] = deque()
        self._sent: list[dict[str, Any]] = []
        """The events of the request that is under way."""
        self._come, self._closing = asyncio.Event(), asyncio.Event()
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to send, in a running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self, wait_s: float) -> None:
        """Send what is left, for up to `wait_s`, and end."""
        assert self._task is not None
        self._closing.set()
        self._come.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._task, wait_s)
        if left := len(self._waiting) + len(self._sent):
            self._lose(left)
            log.error("%d events were not sent to the webhook", left)

    def tell(self, event: dict[str, Any]) -> None:
        """Add an event."""
        self._waiting.append(event)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._lose(1)
        self._metrics.webhook_waiting.set(len(self._waiting))
        self._come.set()

    async def _run(self) -> None:
        # Events for this machine stay on it, whatever proxy the environment names.
        is_here = httpx.URL(self._receiver.url).host in LOOPBACK
        async with httpx.AsyncClient(trust_env=not is_here) as client:
            while self._waiting or not self._closing.is_set():
                if not self._waiting:
                    self._come.clear()
                    await self._come.wait()
                if len(self._waiting) < MOST_SENT:
                    await self._pause(GATHERED_S)
                n = min(MOST_SENT, len(self._waiting))
                self._sent = [self._waiting.popleft() for _ in range(n)]
                self._metrics.webhook_waiting.set(len(self._waiting))
                if self._sent:
                    await self._deliver(client)
                self._sent = []

    async def _deliver(self, client: httpx.AsyncClient) -> None:
        """Send one request, as often as it takes."""
        message_id, wait_s = f"msg_{secrets.token_hex(12)}", FIRST_WAIT_S
        body = json.dumps(
            {
                "type": TYPE,
                "timestamp": datetime.now(UTC).isoformat(),
                "data": {"events": self._sent},
            }
        ).encode()
        while True:
            problem, is_final = await self._attempt(client, message_id, body)
            if problem is None:
                if self._is_failing:
                    log.warning("the webhook answers again")
                self._is_failing = False
                return
            if is_final:
                self._lose(len(self._sent))
                log.error("the webhook refused %d events: %s", len(self._sent), problem)
                return
            if not self._is_failing:
                log.warning("the webhook failed, and will be tried again: %s", problem)
            self._is_failing = True
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            if self._closing.is_set():
                await asyncio.sleep(FIRST_WAIT_S)

    async def _attempt(
        self, client: httpx.AsyncClient, message_id: str, body: bytes
    ) -> tuple[str | None, bool]:
        """Return what went wrong, if anything, and whether for good."""
        headers = self._receiver.headers(message_id, body)
        url = self._receiver.url
        try:
            async with (
                asyncio.timeout(ANSWERED_S),
                client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                pass  # the status says it all
        except Exception as error:
            self._metrics.webhook_requests.labels("failed").inc()
            return f"{type(error).__name__}: {error}", False
        told = "delivered" if answer.is_success else "failed"
        self._metrics.webhook_requests.labels(told).inc()
        if answer.is_success:
            return None, False
        is_final = answer.status_code < 500 and answer.status_code not in LATER
        return f"it answered with {answer.status_code}", is_final

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than until `close`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    def _lose(self, n: int) -> None:
        self._metrics.webhook_lost.inc(n)

"""Who may talk to the server."""

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ser_batch.live.server.endings import REFUSED

OPEN_PATHS = ("/healthz",)


@dataclass(frozen=True)
class Access:
    """Middleware that asks for the token, and refuses pages of other origins.

    The token is a bearer token (RFC 6750), or `?token=` where a client cannot set
    headers. Without a token, everybody who reaches the server may talk to it.
    """

    app: ASGIApp
    token: str | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host")
        if origin is not None and urlsplit(origin).netloc != host:
            await _refuse(scope, receive, send, 403, "a page of another origin")
        elif scope["path"] not in OPEN_PATHS and not self._knows(scope, headers):
            await _refuse(scope, receive, send, 401, "the token is missing or wrong")
        else:
            await self.app(scope, receive, send)

    def _knows(self, scope: Scope, headers: Headers) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            query = parse_qs(scope["query_string"].decode("ascii", "replace"))
            given = query.get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, reason: str
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": REFUSED, "reason": reason})
        return
    await JSONResponse({"error": reason}, status)(scope, receive, send)

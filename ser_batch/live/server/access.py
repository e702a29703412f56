"""Who may talk to the server."""

import base64
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ser_batch.live.server.endings import REFUSED


@dataclass(frozen=True)
class Access:
    """Middleware that asks for the token, and refuses pages of other origins.

    The token is a bearer token (RFC 6750), the password of any user (RFC 7617), or
    `?token=` where a client can set neither. Without a token, everybody who reaches the
    server may talk to it.
    """

    app: ASGIApp
    token: str | None
    open_paths: Collection[str]
    """What is served without the token."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host")
        if origin is not None and origin.partition("://")[2] != host:
            await _refuse(scope, receive, send, 403, "a page of another origin")
        elif scope["path"] not in self.open_paths and not self._knows(scope, headers):
            await _refuse(scope, receive, send, 401, "the token is missing or wrong")
        else:
            await self.app(scope, receive, send)

    def _knows(self, scope: Scope, headers: Headers) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "bearer":
                pass
            case "basic":
                given = _password(given)
            case _:
                query = parse_qs(scope["query_string"].decode("ascii", "replace"))
                given = query.get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())


def _password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except ValueError:
        return ""
    return decoded.decode("utf-8", "replace").partition(":")[2]


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, reason: str
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": REFUSED, "reason": reason})
        return
    await JSONResponse({"error": reason}, status)(scope, receive, send)

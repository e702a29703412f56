"""The routes of the server: audio in over WebSockets, events and counters out."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ser_batch.live.server.access import Access
from ser_batch.live.server.endings import REFUSED, Ending, send_events
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import asterisk, plain, twilio
from ser_batch.web_page import FILES, WebPage

PAGE = WebPage("ser_batch.live.server")
OPEN = {"/healthz", *(f"/{name}" for name in FILES)}
"""The page is open to everybody: what it shows is not."""
TWILIO = "/twilio"
NOT_KEPT = {"Cache-Control": "no-store"}
SSE = NOT_KEPT | {"X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What clients have to know."""

    token: str | None = None
    twilio: str | None = None
    """The account's token, with which Twilio signs its requests."""


def live_app(hub: Hub, hosts: list[str], secrets: Secrets) -> Starlette:
    """Return the application.

    Args:
        hub: the calls.
        hosts: the names under which it is served; `*` for any.
        secrets: what clients have to know.
    """
    server = _Server(hub, secrets)
    # Twilio cannot send the token: its signature stands in for it.
    signed = {TWILIO} if secrets.twilio is not None else set()
    return Starlette(
        routes=[
            *(Route(f"/{name}", server.page) for name in FILES),
            Route("/healthz", server.health),
            Route("/metrics", server.metrics),
            Route("/calls", server.calls),
            Route("/calls/{call}/events", server.events),
            WebSocketRoute("/calls/{call}/events", server.events_socket),
            WebSocketRoute("/audio", server.plain),
            WebSocketRoute("/asterisk", server.asterisk),
            WebSocketRoute(TWILIO, server.twilio),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(Access, token=secrets.token, open_paths=OPEN | signed),
        ],
        exception_handlers={HTTPException: _problem},
    )


class _Server:
    """The handlers of all routes."""

    def __init__(self, hub: Hub, secrets: Secrets) -> None:
        self._hub, self._secrets = hub, secrets

    async def page(self, request: Request) -> Response:
        """Return a file of the page for supervisors."""
        return PAGE.file(request.url.path.removeprefix("/"))

    async def health(self, _: Request) -> Response:
        """Say whether calls are taken, and whether they can be written."""
        error = self._hub.ledger and self._hub.ledger.error
        state = {
            "status": "draining" if self._hub.is_draining else "ok",
            "calls": len(self._hub.calls),
            "most_calls": self._hub.most_calls,
        }
        if error:
            state |= {"status": "cannot write", "error": str(error)}
        return JSONResponse(state, 200 if state["status"] == "ok" else 503)

    async def metrics(self, _: Request) -> Response:
        """Return the counters for Prometheus."""
        kind = "text/plain; version=0.0.4"
        return Response(self._hub.metrics.text(), media_type=kind)

    async def calls(self, _: Request) -> Response:
        """Return the calls that are going on, the most distressed first."""
        found = [call.summary() for call in self._hub.calls]
        found.sort(key=lambda own: (-(own["distress"] or 0.0), own["begun_at"]))
        return JSONResponse(found, headers=NOT_KEPT)

    async def events(self, request: Request) -> Response:
        """Stream the events of a call as server-sent events."""
        call = self._hub.call(request.path_params["call"])
        if call is None:
            raise HTTPException(404, "no such call")

        async def lines() -> AsyncIterator[str]:
            with call.heard_by_one() as listener:
                async for event in listener:
                    yield f"event: {event['event']}\ndata: {json.dumps(event)}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers=SSE)

    async def events_socket(self, socket: WebSocket) -> None:
        """Send the events of a call, a message each."""
        call = self._hub.call(socket.path_params["call"])
        await socket.accept()
        if call is not None:
            ending = await send_events(socket, call)
            await ending.close(socket)
        else:
            await Ending(code=REFUSED, reason="no such call").close(socket)

    async def plain(self, socket: WebSocket) -> None:
        """Take a call by the plain protocol."""
        await plain.follow(socket, self._hub)

    async def asterisk(self, socket: WebSocket) -> None:
        """Take a call of Asterisk's WebSocket channels."""
        await asterisk.follow(socket, self._hub)

    async def twilio(self, socket: WebSocket) -> None:
        """Take a call of Twilio's Media Streams."""
        await twilio.follow(socket, self._hub, self._secrets.twilio)


def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)

"""The routes of the server: audio in over WebSockets, events and counters out."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ser_batch.errors import UsageError
from ser_batch.live.server.access import Access
from ser_batch.live.server.hub import Call, Hub, Listener, NoRoomError
from ser_batch.live.server.ledger import Ledger
from ser_batch.live.server.protocols import plain, twilio

IDLE_S = 60.0
"""A call from which nothing comes for so long is ended."""
DONE, BAD_MESSAGE, REFUSED, NO_ROOM = 1000, 1007, 1008, 1013
"""Codes with which a WebSocket is closed (RFC 6455; 1013 is in IANA's registry)."""
CUT = "cut off: {}"
SSE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What clients have to know."""

    token: str | None = None
    twilio: str | None = None
    """The account's token, with which Twilio signs its requests."""


def live_app(
    hub: Hub, hosts: list[str], secrets_: Secrets, ledger: Ledger | None = None
) -> Starlette:
    """Return the application.

    Args:
        hub: the calls.
        hosts: the names under which it is served; `*` for any.
        secrets_: what clients have to know.
        ledger: where the calls are written.
    """
    server = _Server(hub, secrets_, ledger)
    return Starlette(
        routes=[
            Route("/healthz", server.health),
            Route("/metrics", server.metrics),
            Route("/calls", server.calls),
            Route("/calls/{call}/events", server.events),
            WebSocketRoute("/calls/{call}/events", server.events_socket),
            WebSocketRoute("/audio", server.plain),
            WebSocketRoute("/twilio", server.twilio),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(Access, token=secrets_.token),
        ],
        exception_handlers={HTTPException: _problem},
    )


class _Server:
    """The handlers of all routes."""

    def __init__(self, hub: Hub, secrets_: Secrets, ledger: Ledger | None) -> None:
        self._hub, self._secrets, self._ledger = hub, secrets_, ledger

    async def health(self, _: Request) -> Response:
        """Say whether calls are taken, and whether they can be written."""
        error = self._ledger.error if self._ledger else None
        state = {
            "status": "draining" if self._hub.is_draining else "ok",
            "calls": len(self._hub.calls),
            "most_calls": self._hub.most_calls,
        }
        if error is not None:
            state |= {"status": "cannot write", "error": str(error)}
        return JSONResponse(state, 200 if state["status"] == "ok" else 503)

    async def metrics(self, _: Request) -> Response:
        """Return the counters for Prometheus."""
        kind = "text/plain; version=0.0.4"
        return Response(self._hub.metrics.text(), media_type=kind)

    async def calls(self, _: Request) -> Response:
        """Return the calls that are going on."""
        return JSONResponse(
            [
                {
                    "call": call.call_id,
                    "protocol": call.protocol,
                    "begun_at": call.begun_at,
                    "heard_s": call.heard / call.sample_rate,
                    "channels": call.channels,
                }
                for call in self._hub.calls.values()
            ]
        )

    async def events(self, request: Request) -> Response:
        """Stream the events of a call as server-sent events."""
        listener = self._call(request.path_params["call"]).listen()

        async def lines() -> AsyncIterator[str]:
            async for event in _told(listener):
                yield f"event: {event['event']}\ndata: {json.dumps(event)}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers=SSE)

    async def events_socket(self, socket: WebSocket) -> None:
        """Send the events of a call, a message each."""
        call = self._hub.calls.get(socket.path_params["call"])
        await socket.accept()
        if call is None:
            await socket.close(REFUSED, "no such call")
            return
        await _send_all(socket, call.listen())

    async def plain(self, socket: WebSocket) -> None:
        """Take a call by the plain protocol; see its module."""
        await socket.accept()
        try:
            header = plain.read_header(await _text(socket))
            call_id = header.call or secrets.token_hex(8)
            call = self._begin(call_id, "plain", header.sample_rate, header.channels)
        except (NoRoomError, ValueError, WebSocketDisconnect) as error:
            await _close(socket, error)
            return
        sending = None
        if header.events:
            sending = asyncio.create_task(_send_all(socket, call.listen(), keep=True))
        note, audio = CUT.format("the connection was lost"), plain.PlainAudio(header)
        code, said = DONE, ""
        try:
            await socket.send_json({"event": "accepted", "call": call_id})
            while True:
                message = await _message(socket)
                if message["type"] == "websocket.disconnect":
                    note = "" if message.get("code") == DONE else note
                    break
                if message.get("bytes") is not None:
                    for channel, samples in enumerate(audio.samples(message["bytes"])):
                        self._hub.push(call, channel, samples)
                else:
                    plain.read_ending(message.get("text") or "")
                    note = ""
                    break
        except TimeoutError:
            note, code, said = CUT.format("no audio came"), REFUSED, "no audio came"
        except ValueError as error:
            note, code, said = CUT.format("wrong message"), BAD_MESSAGE, str(error)
        except (WebSocketDisconnect, RuntimeError):
            code = 0
        self._hub.end(call, note)
        if sending is not None and not code - DONE:
            await sending
        elif sending is not None:
            sending.cancel()
        await call.ended.wait()
        if code:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code, said[:100])

    async def twilio(self, socket: WebSocket) -> None:
        """Take a call of Twilio's Media Streams."""
        if self._secrets.twilio is not None:
            url = str(socket.url)
            signature = socket.headers.get("x-twilio-signature", "")
            if not twilio.is_signed(self._secrets.twilio, url, signature):
                await socket.close(REFUSED, "the signature is missing or wrong")
                return
        await socket.accept()
        call: Call | None = None
        audio: twilio.TwilioAudio | None = None
        note = CUT.format("the connection was lost")
        code, said = DONE, ""
        try:
            while True:
                message = twilio.read_message(await _text(socket))
                if message.event == "start" and message.start and call is None:
                    audio = twilio.TwilioAudio(list(message.start.tracks))
                    call = self._begin(
                        message.start.callSid, "twilio", twilio.SAMPLE_RATE,
                        len(audio.tracks),
                    )  # fmt: skip
                elif message.event == "media" and message.media:
                    if call is None or audio is None:
                        raise ValueError("media before the start")
                    for channel, samples in audio.samples(message.media):
                        self._hub.push(call, channel, samples)
                elif message.event == "stop":
                    note = ""
                    break
        except WebSocketDisconnect:
            code = 0
        except TimeoutError:
            note, code, said = CUT.format("no audio came"), REFUSED, "no audio came"
        except NoRoomError as error:
            code, said = NO_ROOM, str(error)
        except ValueError as error:
            note, code, said = CUT.format("wrong message"), BAD_MESSAGE, str(error)
        if call is not None and audio is not None:
            for channel, samples in audio.rest():
                self._hub.push(call, channel, samples)
            self._hub.end(call, note)
        if code:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code, said[:100])

    def _begin(
        self, call_id: str, protocol: str, sample_rate: int, channels: int
    ) -> Call:
        call = self._hub.begin(call_id, protocol, sample_rate, channels)
        if self._ledger is not None:
            self._ledger.begin(call_id, protocol)
        return call

    def _call(self, call_id: str) -> Call:
        call = self._hub.calls.get(call_id)
        if call is None:
            raise HTTPException(404, "no such call")
        return call


async def _told(listener: Listener) -> AsyncIterator[dict[str, Any]]:
    while (event := await listener.queue.get()) is not None:
        yield event


async def _send_all(socket: WebSocket, listener: Listener, keep: bool = False) -> None:
    """Send events until the end; then close the socket, unless it is to be kept."""
    try:
        async for event in _told(listener):
            await socket.send_json(event)
        if not keep:
            await socket.close(DONE if not listener.is_cut_off else REFUSED)
    except (WebSocketDisconnect, RuntimeError):
        listener.is_cut_off = True


async def _message(socket: WebSocket) -> Any:
    # Cheaper than `wait_for`, which makes a task for each message.
    async with asyncio.timeout(IDLE_S):
        return await socket.receive()


async def _text(socket: WebSocket) -> str:
    message = await _message(socket)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", DONE))
    text = message.get("text")
    if text is None:
        raise ValueError("a message of text is expected")
    return str(text)


async def _close(socket: WebSocket, error: Exception) -> None:
    code = BAD_MESSAGE
    if isinstance(error, NoRoomError):
        code = NO_ROOM
    elif isinstance(error, UsageError):
        code = REFUSED
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, str(error)[:100])


def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)

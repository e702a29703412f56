"""How calls end: what their rows say of it, and what the client is told."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from ser_batch.errors import UsageError
from ser_batch.live.server.call import Call
from ser_batch.live.server.hub import CallOverError, Hub, NoRoomError

IDLE_S = 60.0
"""A call from which nothing comes for so long is ended."""
DONE, GONE, BAD_MESSAGE, REFUSED, FAILED, NO_ROOM = 1000, 1001, 1007, 1008, 1011, 1013
"""Codes with which a WebSocket is closed (RFC 6455; 1013 is in IANA's registry)."""
IN_ORDER = (DONE, GONE, 1005)
"""With these, or without any (1005), clients end a call as they meant to."""
LOST, SILENT, WRONG, BROKEN = (
    f"cut off: {why}"
    for why in (
        "the connection was lost",
        "no audio came",
        "wrong message",
        "an unexpected error",
    )
)
"""Notes on calls that did not end in order."""
MOST_REASON = 120
"""Bytes of a reason that fit into the frame that closes a WebSocket."""

log = logging.getLogger("ser.live")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ends."""

    note: str = ""
    """What the call's rows say; empty if all is in order."""
    code: int | None = DONE
    """With which the socket is closed; None if it is closed already."""
    reason: str = ""

    async def close(self, socket: WebSocket) -> None:
        """Close the socket accordingly."""
        if self.code is not None:
            reason = self.reason.encode()[:MOST_REASON].decode(errors="ignore")
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(self.code, reason)


def ending_of(error: Exception) -> Ending:
    """Return the ending for an error; one that is not foreseen is logged."""
    match error:
        case TimeoutError():
            return Ending(SILENT, REFUSED, "no audio came")
        case ConnectionError():
            return Ending(LOST, None)
        case NoRoomError():
            return Ending("", NO_ROOM, str(error))
        case CallOverError():
            return Ending("", GONE, str(error))
        case UsageError():
            return Ending("", REFUSED, str(error))
        case ValueError() | RecursionError():
            return Ending(WRONG, BAD_MESSAGE, str(error))
        case WebSocketDisconnect():
            is_meant = error.code in IN_ORDER
            return Ending("" if is_meant else LOST, None)
    log.error("a call is ended: unexpected %r", error)
    return Ending(BROKEN, FAILED, "an unexpected error")


class Conversation:
    """What is said over a connection: one call, which it begins and feeds."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.call: Call | None = None
        self.telling: asyncio.Task[Ending] | None = None
        """Tells the client the events of its call, if it wants to know them."""

    def begin(
        self, call_id: str, protocol: str, sample_rate: int, channels: int
    ) -> Call:
        """Begin the call; see `Hub.begin`."""
        self.call = self.hub.begin(call_id, protocol, sample_rate, channels)
        return self.call


@asynccontextmanager
async def conversation(socket: WebSocket, hub: Hub) -> AsyncIterator[Conversation]:
    """Provide a conversation; however the body ends, so does the call, and the socket.

    The call is ended, and the socket closed when the call's last events are told.
    """
    own, ending = Conversation(hub), Ending()
    try:
        yield own
    except Exception as error:
        ending = ending_of(error)
    finally:
        if own.call is not None:
            hub.end(own.call, ending.note)
    if own.call is not None:
        await own.call.ended.wait()
    if own.telling is not None:
        heard = await own.telling
        ending = heard if ending.code == DONE else ending
    await ending.close(socket)


async def message_of(socket: WebSocket) -> Any:
    """Return the next message.

    Raises:
        TimeoutError: none comes for too long.
        WebSocketDisconnect: the client has closed the socket, or is lost.
    """
    # Cheaper than `wait_for`, which makes a task for each message.
    async with asyncio.timeout(IDLE_S):
        message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", DONE))
    return message


async def text_of(socket: WebSocket) -> str:
    """Return the next message, which must be text.

    Raises:
        TimeoutError, WebSocketDisconnect: as for `message_of`.
        ValueError: it is not text.
    """
    text = (await message_of(socket)).get("text")
    if text is None:
        raise ValueError("expected a text message")
    return str(text)


async def send_events(socket: WebSocket, call: Call) -> Ending:
    """Send the events of a call, a message each; return how the socket is to end."""
    with call.heard_by_one() as listener, suppress(RuntimeError, WebSocketDisconnect):
        async for event in listener:
            await socket.send_json(event)
    if listener.is_cut_off:
        return Ending(code=REFUSED, reason="the events were not read")
    return Ending()

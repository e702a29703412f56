"""How calls over a WebSocket end: what is noted, and what the client is told."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from ser_batch.errors import UsageError
from ser_batch.live.server.hub import NoRoomError

IDLE_S = 60.0
"""A call from which nothing comes for so long is ended."""
DONE, BAD_MESSAGE, REFUSED, NO_ROOM = 1000, 1007, 1008, 1013
"""Codes with which a WebSocket is closed (RFC 6455; 1013 is in IANA's registry)."""
LOST, SILENT, WRONG = (
    f"cut off: {why}"
    for why in ("the connection was lost", "no audio came", "wrong message")
)
"""Notes on calls that did not end in order."""
MOST_REASON = 100
"""Characters of a reason that fit into the frame that closes a WebSocket."""


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
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(self.code, self.reason[:MOST_REASON])


def ending_of(error: Exception) -> Ending:
    """Return the ending for an error; those that are not foreseen are raised."""
    match error:
        case TimeoutError():
            return Ending(SILENT, REFUSED, "no audio came")
        case NoRoomError():
            return Ending("", NO_ROOM, str(error))
        case UsageError():
            return Ending("", REFUSED, str(error))
        case ValueError():
            return Ending(WRONG, BAD_MESSAGE, str(error))
        case WebSocketDisconnect(code=1000):
            return Ending(code=None)
        case WebSocketDisconnect():
            return Ending(LOST, None)
    raise error


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
        raise ValueError("a message of text is expected")
    return str(text)

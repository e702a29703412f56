"""The plain protocol: a WebSocket with one JSON header, then raw audio.

-> {"call": "4711", "sample_rate": 8000, "channels": 2, "encoding": "mulaw"}
<- {"event": "accepted", "call": "4711"}
-> binary messages: samples, with the channels interleaved
-> {"event": "end"}, or the socket is closed
<- the events of the call, if the header says `"events": true`
"""

import asyncio
import secrets
from contextlib import suppress
from typing import Annotated

import msgspec
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.call import Call
from ser_batch.live.server.endings import Ending, ending_of, message_of, text_of
from ser_batch.live.server.hub import Hub, NoRoomError


class Header(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The first message."""

    call: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[\w.@:+-]*$")] = ""
    """Empty for an id of the server's choice."""
    sample_rate: Annotated[int, msgspec.Meta(ge=4000, le=96_000)] = 8000
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    encoding: Encoding = Encoding.S16
    events: bool = False


class End(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A later message of text."""

    event: Annotated[str, msgspec.Meta(pattern="^end$")]


def read_header(text: str) -> Header:
    """Return the first message.

    Raises:
        ValueError: it is not one.
    """
    return msgspec.json.decode(text, type=Header)


def read_ending(text: str) -> None:
    """Check that a message of text is the last one.

    Raises:
        ValueError: it is not.
    """
    msgspec.json.decode(text, type=End)


class PlainAudio:
    """Cuts binary messages into frames; a message may end within one."""

    def __init__(self, header: Header) -> None:
        self._encoding, self._channels = header.encoding, header.channels
        self._rest = b""

    def samples(self, data: bytes) -> np.ndarray:
        """Return the frames that a message completes, shape (channels, samples)."""
        data = self._rest + data
        frame = self._channels * self._encoding.sample_bytes
        whole = len(data) - len(data) % frame
        self._rest = data[whole:]
        return decode(data[:whole], self._encoding).reshape(-1, self._channels).T


async def follow(socket: WebSocket, hub: Hub) -> None:
    """Take a call from a socket until its end."""
    await socket.accept()
    call, sending, ending = None, None, Ending()
    try:
        header = read_header(await text_of(socket))
        call_id = header.call or secrets.token_hex(8)
        call = hub.begin(call_id, "plain", header.sample_rate, header.channels)
        await socket.send_json({"event": "accepted", "call": call_id})
        if header.events:
            sending = asyncio.create_task(send_events(socket, call))
        audio, message = PlainAudio(header), await message_of(socket)
        while message.get("bytes") is not None:
            for channel, samples in enumerate(audio.samples(message["bytes"])):
                hub.push(call, channel, samples)
            message = await message_of(socket)
        read_ending(message["text"])
    except (NoRoomError, TimeoutError, ValueError, WebSocketDisconnect) as error:
        ending = ending_of(error)
    finally:
        if call is not None:
            hub.end(call, ending.note)
    if call is not None:
        await call.ended.wait()
    if sending is not None:
        await sending
    await ending.close(socket)


async def send_events(socket: WebSocket, call: Call) -> None:
    """Send the events of a call, a message each, for as long as somebody reads them."""
    with call.heard_by_one() as listener, suppress(RuntimeError, WebSocketDisconnect):
        async for event in listener:
            await socket.send_json(event)

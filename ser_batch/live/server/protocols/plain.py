"""The plain protocol: a WebSocket with one JSON header, then raw audio.

-> {"call": "4711", "sample_rate": 8000, "channels": 2, "encoding": "mulaw"}
<- {"event": "accepted", "call": "4711"}
-> binary messages: samples, with the channels interleaved
-> {"event": "end"}, or the socket is closed
<- the events of the call, if the header says `"events": true`
"""

import asyncio
import secrets
from typing import Annotated

import msgspec
import numpy as np
from starlette.websockets import WebSocket

from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.endings import (
    conversation,
    message_of,
    send_events,
    text_of,
)
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import CallId


class Header(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The first message."""

    call: CallId | None = None
    """None for an id of the server's choice."""
    sample_rate: Annotated[int, msgspec.Meta(ge=4000, le=96_000)] = 8000
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    encoding: Encoding = Encoding.S16
    events: bool = False


class End(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A later message of text."""

    event: Annotated[str, msgspec.Meta(pattern=r"^end\Z")]


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
    async with conversation(socket, hub) as own:
        header = read_header(await text_of(socket))
        call_id = header.call or secrets.token_hex(8)
        call = own.begin(call_id, "plain", header.sample_rate, header.channels)
        await socket.send_json({"event": "accepted", "call": call_id})
        if header.events:
            own.telling = asyncio.create_task(send_events(socket, call))
        audio, message = PlainAudio(header), await message_of(socket)
        while message.get("bytes") is not None:
            for channel, samples in enumerate(audio.samples(message["bytes"])):
                hub.push(call, channel, samples)
            message = await message_of(socket)
        read_ending(message["text"])

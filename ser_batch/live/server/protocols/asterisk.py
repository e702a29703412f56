"""Asterisk's channel driver chan_websocket: a WebSocket for each channel.

Asterisk connects, tells the format in a first message of text, in words or in JSON, and
sends what is heard on the channel as binary messages: see
https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/.
"""

from typing import Annotated

import msgspec
from starlette.websockets import WebSocket

from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.endings import conversation, message_of, text_of
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import CallId

SUBPROTOCOL = "media"
FORMATS = {
    "ulaw": (Encoding.MULAW, 8000),
    "alaw": (Encoding.ALAW, 8000),
    "slin": (Encoding.S16, 8000),
    "slin12": (Encoding.S16, 12_000),
    "slin16": (Encoding.S16, 16_000),
    "slin24": (Encoding.S16, 24_000),
    "slin32": (Encoding.S16, 32_000),
    "slin44": (Encoding.S16, 44_100),
    "slin48": (Encoding.S16, 48_000),
}
"""The codecs that are read, by Asterisk's names: their encoding and sample rate."""


class MediaStart(msgspec.Struct, frozen=True):
    """The first message."""

    event: Annotated[str, msgspec.Meta(pattern="^MEDIA_START$")]
    connection_id: CallId
    format: str
    channel_id: CallId | None = None
    """The first releases of the driver do not tell it."""

    @property
    def call(self) -> str:
        """The id of the call: the channel's, where it is told."""
        return self.channel_id or self.connection_id


def read_start(text: str) -> MediaStart:
    """Return the first message.

    Raises:
        ValueError: it is not one, or the codec is not among `FORMATS`.
    """
    if text.startswith("{"):
        start = msgspec.json.decode(text, type=MediaStart)
    else:
        event, *words = text.split()
        told = dict(word.split(":", 1) for word in words if ":" in word)
        start = msgspec.convert({"event": event, **told}, MediaStart)
    if start.format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ValueError(f"the codec {start.format}: {known} are supported")
    return start


async def follow(socket: WebSocket, hub: Hub) -> None:
    """Take a call from a socket until its end."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    async with conversation(socket, hub) as own:
        start = read_start(await text_of(socket))
        encoding, sample_rate = FORMATS[start.format]
        call = own.begin(start.call, "asterisk", sample_rate, 1)
        while True:
            # Other messages of text tell of keys that were pressed, and the like.
            if data := (await message_of(socket)).get("bytes"):
                hub.push(call, 0, decode(data, encoding))

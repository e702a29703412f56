"""Asterisk's AudioSocket: frames over TCP, 16-bit samples at 8 kHz, one channel.

A frame is its kind (1 byte), the length of its payload (2 bytes, big-endian) and the
payload; see `res_audiosocket` in Asterisk's documentation.
"""

import asyncio
import uuid
from dataclasses import dataclass
from enum import IntEnum

from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.endings import (
    IDLE_S,
    LOST,
    Conversation,
    Ending,
    ending_of,
)
from ser_batch.live.server.hub import Hub

SAMPLE_RATE = 8000


class Kind(IntEnum):
    """The kinds of frames."""

    HANGUP = 0x00
    UUID = 0x01
    DTMF = 0x03
    AUDIO = 0x10
    ERROR = 0xFF


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: int
    payload: bytes


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame; None at the end.

    Raises:
        ConnectionError: the connection ends within a frame.
    """
    try:
        header = await reader.readexactly(3)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionError("it ends within a frame") from None
        return None
    length = int.from_bytes(header[1:], "big")
    try:
        payload = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise ConnectionError("it ends within a frame") from None
    return Frame(header[0], payload)


def call_id_of(frame: Frame | None) -> str:
    """Return the id in the first frame of a connection.

    Raises:
        ValueError: it is no such frame.
    """
    if frame is None or frame.kind != Kind.UUID or len(frame.payload) != 16:
        raise ValueError("the first frame must be the call's UUID")
    return str(uuid.UUID(bytes=frame.payload))


async def follow(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hub: Hub
) -> None:
    """Take a call from a connection until its end."""
    own, ending = Conversation(hub), Ending()
    try:
        call_id = call_id_of(await _next(reader))
        call = own.begin(call_id, "audiosocket", SAMPLE_RATE, 1)
        while (frame := await _next(reader)) and frame.kind != Kind.HANGUP:
            if frame.kind == Kind.AUDIO:
                hub.push(call, 0, decode(frame.payload, Encoding.S16))
        if frame is None:
            ending = Ending(LOST)
    except Exception as error:
        ending = ending_of(error)
        if ending.code is not None:
            writer.write(bytes([Kind.ERROR, 0, 1, 1]))
    finally:
        if own.call is not None:
            hub.end(own.call, ending.note)
    if own.call is not None:
        await own.call.ended.wait()


async def _next(reader: asyncio.StreamReader) -> Frame | None:
    async with asyncio.timeout(IDLE_S):
        return await read_frame(reader)

"""Asterisk's AudioSocket: frames over TCP, 16-bit samples at 8 kHz, one channel.

A frame is its kind (1 byte), the length of its payload (2 bytes, big-endian) and the
payload; see `res_audiosocket` in Asterisk's documentation.
"""

import asyncio
import uuid
from dataclasses import dataclass
from enum import IntEnum

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
        ValueError: the connection ends within a frame.
    """
    try:
        header = await reader.readexactly(3)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ValueError("the connection ends within a frame") from None
        return None
    length = int.from_bytes(header[1:], "big")
    try:
        payload = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise ValueError("the connection ends within a frame") from None
    return Frame(header[0], payload)


def call_id_of(frame: Frame | None) -> str:
    """Return the id in the first frame of a connection.

    Raises:
        ValueError: it is no such frame.
    """
    if frame is None or frame.kind != Kind.UUID or len(frame.payload) != 16:
        raise ValueError("the first frame must be the call's UUID")
    return str(uuid.UUID(bytes=frame.payload))

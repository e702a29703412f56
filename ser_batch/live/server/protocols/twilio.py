"""Twilio Media Streams: JSON over a WebSocket, mu-law at 8 kHz.

The messages are described at https://www.twilio.com/docs/voice/media-streams/
websocket-messages, the signature at https://www.twilio.com/docs/usage/security.
"""

import base64
import binascii
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Literal

import msgspec
import numpy as np
from starlette.websockets import WebSocket

from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.endings import REFUSED, conversation, text_of
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import CallId

log = logging.getLogger("ser.live")

SAMPLE_RATE = 8000
TRACKS = ("inbound", "outbound")
"""The caller's side, and the other: channels 0 and 1."""
LATE_MS = 200
"""How long a message that is missing is waited for."""
BEHIND_MS = 1000
"""A track that is further behind the other is filled with silence."""
MOST_AHEAD_MS = 60_000
"""A timestamp further ahead than this is taken for a mistake."""


class MediaFormat(msgspec.Struct):
    """The format of the audio, which is always the same."""

    encoding: Literal["audio/x-mulaw"]
    sampleRate: Literal[8000]
    channels: Literal[1]


class Start(msgspec.Struct):
    """What a stream begins with."""

    callSid: CallId
    tracks: list[Literal["inbound", "outbound"]]
    mediaFormat: MediaFormat


class Media(msgspec.Struct):
    """Twenty milliseconds of a track."""

    track: Literal["inbound", "outbound"]
    timestamp: str
    payload: str


class Message(msgspec.Struct):
    """Any message."""

    event: str
    start: Start | None = None
    media: Media | None = None


def read_message(text: str) -> Message:
    """Return a message.

    Raises:
        ValueError: it is not one of the protocol.
    """
    message = msgspec.json.decode(text, type=Message)
    if message.event == "start" and message.start is None:
        raise ValueError("a start without its description")
    if message.event == "media" and message.media is None:
        raise ValueError("media without a payload")
    return message


def is_signed(
    secret: str, url: str, signature: str, parameters: Mapping[str, str] | None = None
) -> bool:
    """Return whether a request was signed by Twilio with an account's token.

    The signature is the HMAC-SHA1 of the address, followed by the names and values of
    the parameters of a form, in order.
    """
    text = url + "".join(f"{k}{v}" for k, v in sorted((parameters or {}).items()))
    expected = hmac.new(secret.encode(), text.encode(), sha1).digest()
    return hmac.compare_digest(base64.b64encode(expected), signature.encode())


@dataclass
class _Track:
    next_ms: int = 0
    """Where the audio that was passed on ends."""
    early: dict[int, bytes] = field(default_factory=dict)
    """What came before its turn, by its time."""


class TwilioAudio:
    """Puts the messages of both tracks in order, on one clock.

    Messages may come late, twice or not at all: what is missing is silence.
    """

    def __init__(self, tracks: list[str]) -> None:
        self.tracks = [track for track in TRACKS if track in tracks]
        self._tracks = {track: _Track() for track in self.tracks}

    def samples(self, media: Media) -> list[tuple[int, np.ndarray]]:
        """Return the audio that a message completes, with its channels.

        Raises:
            ValueError: the track was not announced, or the message makes no sense.
        """
        if media.track not in self._tracks:
            raise ValueError(f"the track {media.track} was not announced")
        try:
            at_ms, data = (
                int(media.timestamp),
                base64.b64decode(media.payload, validate=True),
            )
        except binascii.Error as error:
            raise ValueError("the payload is not base64") from error
        own = self._tracks[media.track]
        if not 0 <= at_ms <= own.next_ms + MOST_AHEAD_MS:
            raise ValueError(f"the timestamp {at_ms} is far from {own.next_ms}")
        if at_ms >= own.next_ms:
            own.early[at_ms] = data
        found = self._ready(media.track, wait_ms=LATE_MS)
        newest = max(track.next_ms for track in self._tracks.values())
        for name, track in self._tracks.items():
            if newest - track.next_ms > BEHIND_MS:
                found += self._ready(name, wait_ms=0)
                silent_ms = newest - BEHIND_MS - track.next_ms
                if silent_ms > 0:
                    found.append((self.tracks.index(name), _silence(silent_ms)))
                    track.next_ms += silent_ms
        return found

    def rest(self) -> list[tuple[int, np.ndarray]]:
        """Return what still waits for something that is missing."""
        return [own for track in self.tracks for own in self._ready(track, wait_ms=0)]

    def _ready(self, name: str, wait_ms: int) -> list[tuple[int, np.ndarray]]:
        track, channel = self._tracks[name], self.tracks.index(name)
        found = []
        while track.early:
            at_ms = min(track.early)
            missing_ms = at_ms - track.next_ms
            if missing_ms > 0 and max(track.early) - track.next_ms < wait_ms:
                break
            if missing_ms > 0:
                found.append((channel, _silence(missing_ms)))
            samples = decode(track.early.pop(at_ms), Encoding.MULAW)
            overlap = max(0, -missing_ms) * SAMPLE_RATE // 1000
            found.append((channel, samples[overlap:]))
            end_ms = at_ms + len(samples) * 1000 // SAMPLE_RATE
            track.next_ms = max(track.next_ms, end_ms)
        return found


def _silence(length_ms: int) -> np.ndarray:
    return np.zeros(length_ms * SAMPLE_RATE // 1000, np.float32)


async def follow(socket: WebSocket, hub: Hub, secret: str | None) -> None:
    """Take a call from a socket until its end.

    Args:
        socket: not accepted yet.
        hub: the calls.
        secret: the account's token, if streams must be signed with it.
    """
    signature = socket.headers.get("x-twilio-signature", "")
    if secret is not None and not is_signed(secret, str(socket.url), signature):
        log.warning("a stream of Twilio was refused: not signed for %s", socket.url)
        await socket.close(REFUSED, "the signature is missing or wrong")
        return
    await socket.accept()
    async with conversation(socket, hub) as own:
        audio = TwilioAudio([])
        try:
            while (message := read_message(await text_of(socket))).event != "stop":
                if message.start is not None and own.call is None:
                    audio = TwilioAudio(list(message.start.tracks))
                    channels = len(audio.tracks)
                    own.begin(message.start.callSid, "twilio", SAMPLE_RATE, channels)
                elif message.media is not None:
                    found = audio.samples(message.media)
                    assert own.call is not None  # other tracks were not announced
                    for channel, samples in found:
                        hub.push(own.call, channel, samples)
        finally:
            if own.call is not None and not own.call.is_over:
                for channel, samples in audio.rest():
                    hub.push(own.call, channel, samples)

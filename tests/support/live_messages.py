"""Messages of telephone systems as their makers document them, and wrong ones."""

import random

# As in Twilio's documentation of the messages.
CONNECTED = '{"event": "connected", "protocol": "Call", "version": "1.0.0"}'
START = """{
 "event": "start", "sequenceNumber": "1",
 "start": {
  "accountSid": "ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
  "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
  "callSid": "CAXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
  "tracks": ["inbound", "outbound"],
  "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
  "customParameters": {"FirstName": "Jane", "LastName": "Doe"}
 },
 "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
}"""
MEDIA = """{
 "event": "media", "sequenceNumber": "3",
 "media": {"track": "outbound", "chunk": "1", "timestamp": "5", "payload": "//79/w=="},
 "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
}"""
STOP = """{
 "event": "stop", "sequenceNumber": "5",
 "stop": {"accountSid": "ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "callSid": "CAXXXX"},
 "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
}"""

# As in Asterisk's documentation of chan_websocket.
MEDIA_START = (
    "MEDIA_START connection_id:e226e283-c90a-4ea9-9e37-389000b9ef47 "
    "channel:WebSocket/connectionid channel_id:pbx1-123456789.999 format:ulaw "
    "optimal_frame_size:160 ptime:20"
)
MEDIA_START_JSON = """{
 "event": "MEDIA_START",
 "connection_id": "e226e283-c90a-4ea9-9e37-389000b9ef47",
 "channel": "WebSocket/connectionid", "channel_id": "pbx1-123456789.999",
 "format": "ulaw", "optimal_frame_size": 160, "ptime": 20,
 "channel_variables": {"SOME_CHANNEL_VARIABLE": "some value"}
}"""

# As in Asterisk's description of AudioSocket: an id, a packet, the end.
AUDIOSOCKET = b"\x01\x00\x10" + b"u" * 16 + b"\x10\x00\x04\x01\x00\x02\x00" + b"\0\0\0"


def mutated(message: bytes, chance: random.Random) -> bytes:
    """Return a message with some bytes changed, removed, repeated or inserted."""
    data = bytearray(message)
    for _ in range(chance.randint(1, 6)):
        at, n = chance.randrange(len(data) + 1), chance.randint(1, 12)
        match chance.randrange(4):
            case 0:
                data[at : at + n] = chance.randbytes(n)
            case 1:
                del data[at : at + n]
            case 2:
                data[at:at] = data[at : at + n]
            case 3:
                word = chance.choice([b"null", b"-1", b"1e999", b'"', b"[]", b"\xff"])
                data[at:at] = word
    return bytes(data)

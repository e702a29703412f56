"""Messages of telephone systems become audio, and nothing else gets through."""

import asyncio
import base64
import random
import uuid

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.live.encodings import Encoding
from ser_batch.live.server.protocols import asterisk, audiosocket, plain, twilio
from tests.support.live_messages import (
    CONNECTED,
    MEDIA,
    MEDIA_START,
    MEDIA_START_JSON,
    START,
    STOP,
)
from tests.support.waiting import in_own_loop

FORM = {
    "CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234",
    "From": "+14158675310", "To": "+18005551212",
}  # fmt: skip


def mulaw(samples: np.ndarray, path) -> bytes:
    """Return samples as another library encodes them."""
    soundfile.write(path, samples, 8000, "ULAW", format="RAW")
    return path.read_bytes()


def media(track: str, at_ms: int, data: bytes) -> twilio.Media:
    return twilio.Media(track, str(at_ms), base64.b64encode(data).decode())


def test_the_messages_of_twilios_documentation_are_understood():
    assert twilio.read_message(CONNECTED).event == "connected"
    start = twilio.read_message(START).start
    assert start is not None
    assert start.callSid.startswith("CA")
    assert start.tracks == ["inbound", "outbound"]
    found = twilio.read_message(MEDIA).media
    assert found is not None
    assert (found.track, found.timestamp) == ("outbound", "5")
    assert twilio.read_message(STOP).event == "stop"


def test_the_signature_is_that_of_twilios_documentation():
    url, signature = (
        "https://example.com/myapp.php?foo=1&bar=2",
        "L/OH5YylLD5NRKLltdqwSvS0BnU=",
    )
    assert twilio.is_signed("12345", url, signature, FORM)
    assert not twilio.is_signed("12346", url, signature, FORM)
    assert not twilio.is_signed("12345", url + "3", signature, FORM)
    assert not twilio.is_signed("12345", url, "", FORM)


@given(st.data())
def test_audio_of_twilio_is_in_order_whatever_comes_late_twice_or_never(data):
    """Up to 200 ms late; what is lost is silence."""
    n = data.draw(st.integers(1, 40))
    codes = [bytes([1 + i % 120]) * 160 for i in range(n)]
    lost = data.draw(st.sets(st.integers(0, n - 1), max_size=n // 3))
    delays = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    order = sorted((i + delays[i], i) for i in range(n) if i not in lost)
    twice = data.draw(st.sets(st.sampled_from(order))) if order else set()
    audio = twilio.TwilioAudio(["inbound"])
    found = []
    for _, i in sorted([*order, *twice]):
        found += audio.samples(media("inbound", 20 * i, codes[i]))
    found += audio.rest()
    assert all(channel == 0 for channel, _ in found)
    heard = np.concatenate([np.zeros(0, np.float32), *(own for _, own in found)])
    there = [i for i in range(n) if i not in lost]
    n_heard = there[-1] + 1 if there else 0
    assert len(heard) == 160 * n_heard
    for i in range(n_heard):
        own = heard[160 * i : 160 * (i + 1)]
        if i in lost:
            assert not own.any()
        else:
            expected = plain.decode(codes[i], Encoding.MULAW)
            np.testing.assert_array_equal(own, expected)


def test_a_track_of_twilio_that_stays_silent_does_not_hold_up_the_other():
    audio, packet = twilio.TwilioAudio(["inbound", "outbound"]), b"\x05" * 160
    heard: list[list[np.ndarray]] = [[], []]

    def hear(track: str, at_ms: int) -> None:
        for channel, samples in audio.samples(media(track, at_ms, packet)):
            heard[channel].append(samples)

    for i in range(260):
        hear("inbound", 20 * i)
    inbound, outbound = (np.concatenate(own) for own in heard)
    assert len(inbound) == 260 * 160
    assert len(outbound) == len(inbound) - twilio.BEHIND_MS * 8
    assert not outbound.any()
    # And it is at its place when it speaks at last.
    hear("outbound", 5000)
    hear("outbound", 5020)
    outbound = np.concatenate(heard[1])
    assert len(outbound) == 5040 * 8
    assert not outbound[: 5000 * 8].any()
    spoken = plain.decode(packet, Encoding.MULAW)
    np.testing.assert_array_equal(outbound[5000 * 8 :], np.tile(spoken, 2))


def test_both_dialects_of_asterisk_are_understood():
    for text in (MEDIA_START, MEDIA_START_JSON):
        start = asterisk.read_start(text)
        assert start.call == "pbx1-123456789.999"
        assert asterisk.FORMATS[start.format] == (Encoding.MULAW, 8000)
    older = MEDIA_START.replace("channel_id:pbx1-123456789.999 ", "")
    assert asterisk.read_start(older).call == "e226e283-c90a-4ea9-9e37-389000b9ef47"
    for wrong in ("", "MEDIA_XOFF", "MEDIA_START", MEDIA_START.replace("ulaw", "opus")):
        with pytest.raises(ValueError, match="Object|Invalid|Expected|codec|unpack"):
            asterisk.read_start(wrong)


@given(
    st.lists(st.integers(0, 300)),
    st.integers(1, 4),
    st.sampled_from(list(Encoding)),
)
def test_frames_of_the_plain_protocol_may_end_within_a_message(
    cuts, channels, encoding
):
    data = bytes(random.Random(0).randbytes(sum(cuts)))
    audio = plain.PlainAudio(plain.Header(channels=channels, encoding=encoding))
    found, at = [np.zeros((channels, 0), np.float32)], 0
    for n in cuts:
        found.append(audio.samples(data[at : at + n]))
        at += n
    frame = channels * encoding.sample_bytes
    whole = data[: len(data) // frame * frame]
    expected = plain.decode(whole, encoding).reshape(-1, channels).T
    np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)


def frames(data: bytes) -> list[audiosocket.Frame]:
    async def read() -> list[audiosocket.Frame]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while (frame := await audiosocket.read_frame(reader)) is not None:
            found.append(frame)
        return found

    return in_own_loop(read())


def test_frames_of_audiosocket_are_read():
    own = uuid.uuid4()
    sent = b"\x01\x00\x10" + own.bytes + b"\x10\x00\x04\x01\x00\x02\x00" + b"\0\0\0"
    found = frames(sent)
    assert [frame.kind for frame in found] == [1, 0x10, 0]
    assert audiosocket.call_id_of(found[0]) == str(own)
    assert found[1].payload == b"\x01\x00\x02\x00"
    with pytest.raises(ConnectionError, match="within a frame"):
        frames(sent[:-1])
    for wrong in (None, found[1], audiosocket.Frame(1, b"short")):
        with pytest.raises(ValueError, match="UUID"):
            audiosocket.call_id_of(wrong)

"""Malformed messages, among ten thousand per protocol, end only their own calls."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile

pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")
pytest.importorskip("httpx", reason="the extra `live` is not installed")

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.live.call_stream import CallStream
from ser_batch.live.events import as_json
from ser_batch.live.server.app import Secrets, live_app
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import audiosocket
from ser_batch.speech.silero import SileroVad
from tests.support.live_messages import (
    AUDIOSOCKET,
    CONNECTED,
    MEDIA,
    MEDIA_START,
    MEDIA_START_JSON,
    START,
    STOP,
    mutated,
)
from tests.support.live_server import finals
from tests.support.paths import EXAMPLES
from tests.support.waiting import in_own_loop

MESSAGES, PER_CALL, AT_A_TIME = 10_000, 5, 40
HEADER = '{"call": "fuzzed", "sample_rate": 8000, "channels": 2, "events": true}'
AUDIO = bytes(range(256)) * 5
CONVERSATIONS = {
    "/audio": (HEADER, AUDIO, AUDIO, '{"event": "end"}'),
    "/twilio": (CONNECTED, START, MEDIA, MEDIA, STOP),
    "/asterisk": (MEDIA_START, AUDIO, "DTMF_END digit:5", AUDIO, MEDIA_START_JSON),
}
IDS = re.compile("fuzzed|CAX+|pbx1-[0-9.]+")
IN_ORDER = {None, 1000, 1007, 1008, 1013}
"""How a socket may be closed; None: the client has closed it."""

T = TypeVar("T")


@pytest.fixture(scope="module")
def scorer(profiled_bundle):
    return load_scorer(str(profiled_bundle), "cpu")


@pytest.fixture(scope="module")
def mono() -> np.ndarray:
    samples, _ = soundfile.read(EXAMPLES / "billing" / "1001.wav", dtype="float32")
    return np.ascontiguousarray(samples[: 20 * 8000, 1])


@asynccontextmanager
async def another_call(scorer, mono) -> AsyncIterator[Hub]:
    """Provide a hub, and check that another call is followed to its end meanwhile."""
    vad = SileroVad()
    hub = Hub(scorer, vad, Config(), most_calls=50)
    hub.start()
    other, told = hub.begin("other", "plain", 8000, 1), []

    async def listen() -> None:
        with other.heard_by_one() as listener:
            told.extend([event async for event in listener])

    async def talk() -> None:
        for at in range(0, len(mono), 800):
            hub.push(other, 0, mono[at : at + 800])
            await asyncio.sleep(0.02)

    listening, talking = asyncio.create_task(listen()), asyncio.create_task(talk())
    await asyncio.sleep(0)
    try:
        yield hub
        await talking
        hub.end(other)
        await listening
    finally:
        await hub.drain(0.0)
    stream = CallStream(scorer, Config(), sample_rate=8000, channels=1, vad=vad)
    expected = [as_json(event) for event in [*stream.feed(0, mono), *stream.finish()]]
    assert finals(expected)
    for found, right in zip(finals(told), finals(expected), strict=True):
        assert (found["start_s"], found["end_s"]) == (right["start_s"], right["end_s"])
        assert found["probabilities"] == pytest.approx(right["probabilities"], abs=1e-4)


async def converse(app, path: str, messages: list[str | bytes]) -> int | None:
    """Open a WebSocket, send messages, and vanish; return how it was closed."""
    waiting: list[dict] = [{"type": "websocket.connect"}]
    for message in messages:
        kind = "text" if isinstance(message, str) else "bytes"
        waiting.append({"type": "websocket.receive", kind: message})
    codes: list[int] = []

    async def receive() -> dict:
        await asyncio.sleep(0)
        return waiting.pop(0) if waiting else {"type": "websocket.disconnect"}

    async def send(message: dict) -> None:
        if message["type"] == "websocket.close":
            codes.append(message["code"])

    headers = [(b"host", b"127.0.0.1")]
    scope = {
        "type": "websocket", "path": path, "root_path": "", "query_string": b"",
        "scheme": "ws", "server": ("127.0.0.1", 80), "headers": headers,
        "subprotocols": [],
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 30)
    return codes[0] if codes else None


def wrong_messages(path: str, number: int, chance: random.Random) -> list[str | bytes]:
    """Return a conversation of its own, with about half of its messages wrong."""
    found: list[str | bytes] = []
    for message in CONVERSATIONS[path]:
        if isinstance(message, bytes):
            found.append(mutated(message, chance))
            continue
        own = IDS.sub(f"fuzzed{number}", message)
        wrong = mutated(own.encode(), chance).decode("utf-8", "replace")
        found.append(own if chance.random() < 0.5 else wrong)
    return found


async def in_groups(conversations: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of conversations of which several go on at a time."""
    waiting, found = iter(conversations), []
    while group := list(islice(waiting, AT_A_TIME)):
        found += await asyncio.gather(*group)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", CONVERSATIONS)
def test_wrong_messages_over_a_websocket_harm_no_other_call(path, scorer, mono):
    chance = random.Random(path)

    async def fuzz() -> list[int | None]:
        async with another_call(scorer, mono) as hub:
            app = live_app(hub, ["127.0.0.1"], Secrets())
            return await in_groups(
                converse(app, path, wrong_messages(path, number, chance))
                for number in range(MESSAGES // PER_CALL)
            )

    closed = in_own_loop(fuzz())
    assert set(closed) <= IN_ORDER
    assert closed.count(1007) > len(closed) / 4
    assert len(set(closed)) > 1


@pytest.mark.slow
def test_wrong_frames_over_audiosocket_harm_no_other_call(scorer, mono):
    chance = random.Random(4)

    class Writer:
        def write(self, data: bytes) -> None:
            pass

    async def frames(hub: Hub) -> None:
        reader = asyncio.StreamReader()
        own = AUDIOSOCKET.replace(b"u" * 16, chance.randbytes(16))
        reader.feed_data(mutated(own, chance))
        reader.feed_eof()
        await asyncio.wait_for(audiosocket.follow(reader, Writer(), hub), 30)

    async def fuzz() -> None:
        async with another_call(scorer, mono) as hub:
            await in_groups(frames(hub) for _ in range(MESSAGES // PER_CALL))
            assert [call.call_id for call in hub.calls] == ["other"]

    in_own_loop(fuzz())


def test_messages_are_mutated_in_most_cases():
    chance = random.Random(0)
    found = [mutated(HEADER.encode(), chance) for _ in range(200)]
    assert sum(own != HEADER.encode() for own in found) > 190
    assert any(_is_json(own) for own in found)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True

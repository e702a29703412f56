"""A server with calls of all protocols, in real time, some of which end badly.

    python tests/benchmarks/live_soak.py [--calls 28] [--minutes 8]

Keeps that many calls going against one `ser serve`: a quarter each over the plain
WebSocket, Twilio's protocol, chan_websocket and AudioSocket. Each lasts half a minute
to three minutes. One in five is closed with an error, and one in ten ends with
malformed data. Prints the lags that the server counts, what it dropped, its memory over
time, and whether every call has its row, once.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.live_server import free_port
from tests.support.paths import EXAMPLES, ROOT

RATE, PACKET_S = 8000, 0.02
WINDOWS = 8
N = round(RATE * PACKET_S)
MEDIA = Subprotocol("media")
RUBBISH, TOO_LONG = b"\xff\x00rubbish", bytes(2 << 20)
Send = Callable[[np.ndarray], Awaitable[None]]
"""Sends a packet of both channels; an empty one for rubbish."""


@asynccontextmanager
async def plain(port: int, call: str) -> AsyncIterator[Send]:
    async with connect(f"ws://127.0.0.1:{port}/audio") as sock:
        await sock.send(json.dumps({"call": call, "channels": 2, "events": True}))

        async def listen() -> None:
            try:
                async for _ in sock:
                    pass
            except ConnectionClosed:
                pass

        async def send(samples: np.ndarray) -> None:
            await sock.send(samples.tobytes() if len(samples) else "rubbish")

        listener = asyncio.create_task(listen())
        yield send
        await sock.send('{"event": "end"}')
        await listener


@asynccontextmanager
async def twilio(port: int, call: str) -> AsyncIterator[Send]:
    async with connect(f"ws://127.0.0.1:{port}/twilio") as sock:
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1}
        tracks = ["inbound", "outbound"]
        start = {"callSid": call, "tracks": tracks, "mediaFormat": media_format}
        await sock.send(json.dumps({"event": "connected"}))
        await sock.send(json.dumps({"event": "start", "start": start}))
        at = 0

        async def send(samples: np.ndarray) -> None:
            nonlocal at
            if not len(samples):
                await sock.send('{"event": "media", "media": 7}')
            for own, track in zip(samples.T, tracks, strict=True):
                payload = base64.b64encode(mulaw(own)).decode()
                media = {"track": track, "timestamp": str(at), "payload": payload}
                await sock.send(json.dumps({"event": "media", "media": media}))
            at += round(PACKET_S * 1000)

        yield send
        await sock.send('{"event": "stop"}')
        await sock.wait_closed()


@asynccontextmanager
async def asterisk(port: int, call: str) -> AsyncIterator[Send]:
    async with connect(f"ws://127.0.0.1:{port}/asterisk", subprotocols=[MEDIA]) as sock:
        await sock.send(
            f"MEDIA_START connection_id:{call} channel:WebSocket/1 channel_id:{call} "
            "format:ulaw optimal_frame_size:160 ptime:20"
        )

        async def send(samples: np.ndarray) -> None:
            await sock.send(mulaw(samples[:, 1]) if len(samples) else TOO_LONG)

        yield send


@asynccontextmanager
async def audiosocket(port: int, call: str) -> AsyncIterator[Send]:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x01\x00\x10" + bytes.fromhex(call))

    async def send(samples: np.ndarray) -> None:
        data = samples[:, 1].tobytes() if len(samples) else b""
        frame = b"\x10" + len(data).to_bytes(2, "big") + data
        writer.write(frame if data else RUBBISH)
        await writer.drain()

    try:
        yield send
        writer.write(b"\x00\x00\x00")
        await writer.drain()
    finally:
        writer.close()


PROTOCOLS = {
    "plain": plain, "twilio": twilio, "asterisk": asterisk, "audiosocket": audiosocket
}  # fmt: skip


def mulaw(samples: np.ndarray) -> bytes:
    """Return 16-bit samples in G.711's mu-law."""
    return mulaw_codes()[samples.astype(np.int32) + 32768].tobytes()


@cache
def mulaw_codes() -> np.ndarray:
    """Return the code of each 16-bit sample, from the lowest on."""
    coded = io.BytesIO()
    every = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(coded, every, RATE, "ULAW", format="RAW")
    return np.frombuffer(coded.getvalue(), np.uint8)


async def talk(
    protocol: str, port: int, call: str, samples: np.ndarray, end: str
) -> None:
    """Play a call in real time, and end it in one of three ways."""
    start = time.monotonic()
    try:
        async with PROTOCOLS[protocol](port, call) as send:
            for at in range(0, len(samples) - N, N):
                due = start + (at + N) / RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await send(samples[at : at + N])
            if end == "rubbish":
                await send(samples[:0])
            elif end == "cut":
                raise ConnectionResetError
    except (ConnectionError, ConnectionClosed):
        pass


async def soak(
    ports: dict[str, int], calls: int, seconds: float, samples: np.ndarray
) -> list[str]:
    """Keep calls going; return the ids of all of them."""
    chance, stop = random.Random(0), time.monotonic() + seconds
    made: list[str] = []

    async def one_after_another(number: int) -> None:
        protocol = list(PROTOCOLS)[number % len(PROTOCOLS)]
        await asyncio.sleep(chance.uniform(0, 10))
        while time.monotonic() < stop:
            n = round(RATE * min(chance.uniform(30, 180), stop - time.monotonic() + 5))
            offset = chance.randrange(len(samples))
            own = np.roll(samples, -offset, axis=0)
            own = np.tile(own, (-(-n // len(own)), 1))[:n]
            end = chance.choices(["well", "cut", "rubbish"], [7, 2, 1])[0]
            call = f"{len(made):032x}"
            made.append(call)
            await talk(protocol, ports[protocol], call, own, end)

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(one_after_another(number))
    return made


async def memories(pid: int, found: list[int]) -> None:
    """Note the memory of a process every five seconds."""
    while True:
        found.append(psutil.Process(pid).memory_full_info().pss)
        await asyncio.sleep(5)


def lag_of(text: str) -> str:
    """Return shares of lags from the text of the metrics."""
    buckets = dict(re.findall(r'ser_lag_seconds_bucket\{le="(\S+)"\} (\S+)', text))
    n = float(buckets["+Inf"])
    shares = [f"{float(buckets[le]) / n:.2%} in {le} s" for le in ("0.5", "1.0", "3.0")]
    return f"{n:.0f} rounds: " + ", ".join(shares)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=28)
    parser.add_argument("--minutes", type=float, default=8.0)
    options = parser.parse_args()
    path = EXAMPLES / "billing" / "1001.wav"
    samples, _ = soundfile.read(path, dtype="int16", always_2d=True)
    audiosocket_port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results"
        server = subprocess.Popen(
            [
                sys.executable, "-m", "ser_batch", "serve", "--port", "0", "--out",
                str(out), "--most-calls", str(options.calls + 2),
                "--audiosocket-port", str(audiosocket_port),
            ],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert server.stdout is not None
        port = int(server.stdout.readline().split(",")[0].rpartition(":")[2])
        ports = dict.fromkeys(PROTOCOLS, port) | {"audiosocket": audiosocket_port}
        found: list[int] = []
        watch = asyncio.create_task(memories(server.pid, found))
        made = await soak(ports, options.calls, options.minutes * 60, samples)
        watch.cancel()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        server.terminate()
        status = server.wait()
        rows = pq.read_table(out / "recordings", columns=["path", "status"]).to_pylist()
    print(lag_of(text))
    for line in text.splitlines():
        if re.match("ser_(calls|dropped|audio|segments).*_total", line):
            print(" ", line)
    windows = [np.median(own) / 2**20 for own in np.array_split(found, WINDOWS)]
    print("memory (PSS) over time, MiB:", *(f"{own:.0f}" for own in windows))
    ids = sorted(row["path"].rpartition("/")[2].replace("-", "") for row in rows)
    state = "each has its row, once" if ids == sorted(made) else "NOT one row each"
    print(f"{len(made)} calls, {len(rows)} rows: {state}; exit {status}")


if __name__ == "__main__":
    asyncio.run(main())

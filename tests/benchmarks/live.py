"""How soon a server says what can be said, with 1 to N calls at a time.

    python tests/benchmarks/live.py [--calls 1 20 40] [--seconds 60]

Plays the example call in real time, over WebSockets on this machine, to `ser serve`,
with that many calls at a time that begin within the first two seconds. Prints for each
number of calls: the CPU time of the server for a second of a call (as the number of
calls that a core bears), and percentiles of

- the lag: from the arrival of the packet that decides an event, to the event;
- the delay: from the end of a segment to its final event, which contains what the
  rules of the batch have to wait for.

The packet that decides an event is found by replaying the call without a server.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from websockets.sync.client import connect

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.live.call_stream import CallStream
from ser_batch.live.events import SegmentScored
from tests.support.paths import EXAMPLES, ROOT

RATE, PACKET_S = 8000, 0.02
ROLES = ["agent", "customer"]


def decided(waveform: np.ndarray) -> dict[tuple[float, float], float]:
    """Return when the audio that decides each final segment has come (s)."""
    config = Config.from_dict({"score": {"roles": ROLES}})
    stream = CallStream(
        load_scorer("telephone", "cpu"), config, sample_rate=RATE, channels=2
    )
    found, n = {}, round(PACKET_S * RATE)
    for at in range(0, len(waveform), n):
        for channel in range(2):
            for event in stream.feed(channel, waveform[at : at + n, channel]):
                if isinstance(event, SegmentScored) and event.is_final:
                    span = round(event.start_s, 3), round(event.end_s, 3)
                    found[span] = (at + n) / RATE
    return found


def play(
    port: int,
    number: int,
    samples: np.ndarray,
    lags: list[float],
    delays: list[float],
    when: dict[tuple[float, float], float],
) -> None:
    """Play one call in real time, and note when its events come."""
    with connect(f"ws://127.0.0.1:{port}/audio") as sock:
        header = {"call": f"call-{number}", "channels": 2, "events": True}
        sock.send(json.dumps(header))
        sock.recv()
        start = time.monotonic()

        def listen() -> None:
            for message in sock:
                event, now_s = json.loads(message), time.monotonic() - start
                if event["event"] == "segment" and event["is_final"]:
                    span = round(event["start_s"], 3), round(event["end_s"], 3)
                    if span in when:
                        lags.append(now_s - when[span])
                        delays.append(now_s - event["end_s"])

        listener = threading.Thread(target=listen)
        listener.start()
        n = round(PACKET_S * RATE)
        for at in range(0, len(samples), n):
            due = start + (at + n) / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            sock.send(samples[at : at + n].tobytes())
        sock.send('{"event": "end"}')
        listener.join()


def measured(calls: int, samples: np.ndarray, when: dict) -> str:
    """Return a line on a server with so many calls at a time."""
    command = [
        sys.executable, "-m", "ser_batch", "serve", "--port", "0", "--most-calls",
        str(calls), "--roles", ",".join(ROLES),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        command += ["--out", f"{folder}/results"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert server.stdout is not None
        port = int(server.stdout.readline().split(",")[0].rpartition(":")[2])
        before = sum(psutil.Process(server.pid).cpu_times()[:2])
        lags: list[float] = []
        delays: list[float] = []
        threads = [
            threading.Thread(
                target=play, args=(port, number, samples, lags, delays, when)
            )
            for number in range(calls)
        ]
        for thread in threads:
            thread.start()
            time.sleep(2 / calls)
        for thread in threads:
            thread.join()
        spent = sum(psutil.Process(server.pid).cpu_times()[:2]) - before
        server.terminate()
        server.wait()
    per_second = spent / (calls * len(samples) / RATE)
    lag, delay = (np.percentile(own, (50, 95, 100)) for own in (lags, delays))
    return (
        f"{calls:4} calls, {len(lags):5} segments: lag {lag[0]:.2f} s (median), "
        f"{lag[1]:.2f} s (95 %), {lag[2]:.2f} s (worst); delay {delay[0]:.1f} s, "
        f"{delay[1]:.1f} s, {delay[2]:.1f} s; {1 / per_second:.0f} calls a core"
    )


def main() -> None:
    """Measure a server with more and more calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 20, 40])
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    path = EXAMPLES / "billing" / "1001.wav"
    samples, _ = soundfile.read(path, dtype="int16", always_2d=True)
    n = round(options.seconds * RATE)
    samples = np.tile(samples, (-(-n // len(samples)), 1))[:n].astype("<i2")
    when = decided((samples / 32768).astype(np.float32))
    for calls in options.calls:
        print(measured(calls, samples, when), flush=True)


if __name__ == "__main__":
    main()

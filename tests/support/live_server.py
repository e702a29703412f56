"""A server of calls in a process of its own, and its clients."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.commands import command_line

RATE, TOKEN = 8000, "a-token-of-the-tests"
AHEAD_S = 4.0
"""How far clients are ahead of what the server has heard."""


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int
    out: Path
    asterisk: int

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path: str, token: str = TOKEN, **headers: str):
        request = urllib.request.Request(
            self.url(path), headers={"Authorization": f"Bearer {token}", **headers}
        )
        return urllib.request.urlopen(request, timeout=20)

    def socket(self, path: str, **kwargs):
        given = {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}} | kwargs
        return connect(self.url(path, "ws"), max_size=None, **given)

    def heard_s(self, call: str) -> float:
        with self.get("/calls") as answer:
            calls = {own["call"]: own["heard_s"] for own in json.load(answer)}
        return calls.get(call, 0.0)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def started(
    out: Path, bundle: Path, *more: object, has_audiosocket: bool = True
) -> Server:
    asterisk = free_port()
    if has_audiosocket:
        more += ("--audiosocket-port", asterisk)
    process = subprocess.Popen(
        command_line(
            "serve", "--port", 0, "--out", out, "--bundle", bundle, *more,
        ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"SER_TOKEN": TOKEN},
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Serving "):
            port = int(line.split(",")[0].rpartition(":")[2])
            return Server(process, port, out, asterisk)
    raise AssertionError(said)


def send(server: Server, sock, call: str, samples: np.ndarray) -> None:
    """Send 16-bit frames in packets of 100 ms, not too far ahead of the server."""
    for at in range(0, len(samples), RATE // 10):
        sock.send(samples[at : at + RATE // 10].astype("<i2").tobytes())
        while at / RATE - server.heard_s(call) > AHEAD_S:
            time.sleep(0.02)


def received(sock) -> list[dict]:
    """Return all messages until the socket is closed, for whatever reason."""
    found = []
    with suppress(ConnectionClosed):
        while True:
            found.append(json.loads(sock.recv()))
    return found


def finals(events: list[dict]) -> list[dict]:
    found = [e for e in events if e["event"] == "segment" and e["is_final"]]
    return sorted(found, key=lambda e: (e["start_s"], e["end_s"], e["channel"]))

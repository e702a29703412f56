"""A server of calls: the rows of the batch, over every protocol, whatever happens."""

import base64
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets", reason="the extra `live` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import ser_batch
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results
from tests.support.commands import command_line, ser
from tests.support.live_server import (
    AHEAD_S,
    RATE,
    TOKEN,
    Server,
    finals,
    received,
    send,
    started,
)
from tests.support.paths import EXAMPLES
from tests.support.waiting import wait_until

STEREO = EXAMPLES / "billing" / "1001.wav"


@pytest.fixture(scope="module")
def server(tmp_path_factory, profiled_bundle) -> Iterator[Server]:
    out = tmp_path_factory.mktemp("live") / "results"
    own = started(out, profiled_bundle, "--most-calls", 4)
    yield own
    own.process.kill()
    own.process.wait()


@pytest.fixture(scope="module")
def stereo() -> np.ndarray:
    return soundfile.read(STEREO, dtype="int16", always_2d=True)[0]


def check(events: list[dict], path: Path, bundle: Path) -> None:
    """Check that the events are the batch's rows of a recording."""
    call = ser_batch.load(str(bundle), "cpu").analyze(path)
    rows = call.segments.to_dict("records")
    assert rows
    for own, row in zip(finals(events), rows, strict=True):
        assert own["start_s"] == pytest.approx(row["start_s"], abs=1e-6)
        assert own["end_s"] == pytest.approx(row["end_s"], abs=1e-6)
        assert own["channel"] == row["channel"]
        for label, p in own["probabilities"].items():
            assert p == pytest.approx(row[f"p_{label}"], abs=1e-4)
    assert events[-1]["event"] == "ended"


def committed(out: Path, location: str) -> dict:
    """Return the row of a call, when it is there."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        rows = open_results(out).recordings()
        own = rows[rows.location == location]
        if len(own):
            return own.iloc[0].to_dict()
        time.sleep(0.2)
    raise AssertionError(f"no row for {location}")


def test_a_call_over_a_websocket_gives_the_rows_of_the_batch(
    server, stereo, profiled_bundle
):
    events = []
    header = {"call": "first", "channels": 2, "events": True}
    with server.socket("/audio") as sock:
        sock.send(json.dumps(header))
        assert json.loads(sock.recv()) == {"event": "accepted", "call": "first"}
        send(server, sock, "first", stereo)
        sock.send('{"event": "end"}')
        events = [json.loads(message) for message in sock]
        assert sock.close_code == 1000
    check(events, STEREO, profiled_bundle)
    row = committed(server.out, "live:plain/first")
    assert row["status"] == "done"
    assert row["codec"] == "live plain"
    segments = open_results(server.out).segments()
    own = segments[segments.recording_id == row["recording_id"]]
    assert len(own) == len(finals(events)) == row["segments"]
    assert verify(server.out).sound


def test_a_call_of_twilio_gives_the_rows_of_the_batch(
    server, stereo, profiled_bundle, tmp_path
):
    path, raw = tmp_path / "call.wav", tmp_path / "call.raw"
    soundfile.write(path, stereo, RATE, "ULAW")
    codes = []
    for channel in range(2):
        soundfile.write(raw, stereo[:, channel], RATE, "ULAW", format="RAW")
        codes.append(raw.read_bytes())
    listened: list[dict] = []

    def listen() -> None:
        with server.socket("/calls/CA1/events") as sock:
            listened.extend(json.loads(message) for message in sock)

    listener = threading.Thread(target=listen)
    with server.socket("/twilio") as sock:
        sock.send('{"event": "connected", "protocol": "Call", "version": "1.0.0"}')
        sock.send(
            json.dumps(
                {
                    "event": "start",
                    "start": {
                        "callSid": "CA1",
                        "tracks": ["inbound", "outbound"],
                        "mediaFormat": {
                            "encoding": "audio/x-mulaw",
                            "sampleRate": 8000,
                            "channels": 1,
                        },
                    },
                }
            )
        )
        for at in range(0, len(stereo), 160):
            for track, own in zip(("inbound", "outbound"), codes, strict=True):
                payload = base64.b64encode(own[at : at + 160]).decode()
                media = {"track": track, "timestamp": str(at // 8), "payload": payload}
                sock.send(json.dumps({"event": "media", "media": media}))
            if at == 16_000:
                listener.start()
            while at % 8000 == 0 and at / RATE - server.heard_s("CA1") > AHEAD_S:
                time.sleep(0.02)
        sock.send('{"event": "stop"}')
        with pytest.raises(ConnectionClosed):
            sock.recv()
    listener.join(30)
    check(listened, path, profiled_bundle)
    assert committed(server.out, "live:twilio/CA1")["channels"] == 2


def test_a_call_of_asterisk_gives_the_rows_of_the_batch(
    server, stereo, profiled_bundle, tmp_path
):
    mono = stereo[:, 1]
    path = tmp_path / "mono.wav"
    soundfile.write(path, mono, RATE, "PCM_16")
    own = uuid.uuid4()
    events: list[dict] = []

    def listen() -> None:
        with server.get(f"/calls/{own}/events") as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    events.append(json.loads(line[6:]))

    with socket.create_connection(("127.0.0.1", server.asterisk)) as sock:
        sock.sendall(b"\x01\x00\x10" + own.bytes)
        listener = threading.Thread(target=listen)
        for at in range(0, len(mono), 160):
            data = mono[at : at + 160].astype("<i2").tobytes()
            sock.sendall(b"\x10" + len(data).to_bytes(2, "big") + data)
            if at == 16_000:
                listener.start()
            while at % 8000 == 0 and at / RATE - server.heard_s(str(own)) > AHEAD_S:
                time.sleep(0.02)
        sock.sendall(b"\0\0\0")
        assert sock.recv(1) == b""
    listener.join(30)
    check(events, path, profiled_bundle)
    committed(server.out, f"live:audiosocket/{own}")


@pytest.mark.parametrize(
    ("dialect", "codec", "subtype"), [("words", "alaw", "ALAW"), ("json", "slin16", "")]
)
def test_a_channel_of_asterisk_gives_the_rows_of_the_batch(
    dialect, codec, subtype, server, stereo, profiled_bundle, tmp_path
):
    path, raw, call = tmp_path / "call.wav", tmp_path / "call.raw", f"pbx-1.{dialect}"
    rate = 8000 if subtype else 16_000
    mono = np.repeat(stereo[:, 1], rate // 8000)
    soundfile.write(path, mono, rate, subtype or "PCM_16")
    soundfile.write(raw, mono, rate, subtype or "PCM_16", format="RAW")
    told = {
        "connection_id": "4711", "channel": "WebSocket/ser", "channel_id": call,
        "format": codec, "optimal_frame_size": 160, "ptime": 20,
    }  # fmt: skip
    words = " ".join(f"{name}:{value}" for name, value in told.items())
    start = f"MEDIA_START {words}"
    if dialect == "json":
        start = json.dumps({"event": "MEDIA_START", **told}, indent=1)
    data, second = raw.read_bytes(), rate * (1 if subtype else 2)
    events: list[dict] = []

    def listen() -> None:
        with server.socket(f"/calls/{call}/events") as sock:
            events.extend(json.loads(message) for message in sock)

    with server.socket("/asterisk", subprotocols=["media"]) as sock:
        assert sock.subprotocol == "media"
        sock.send(start)
        listener = threading.Thread(target=listen)
        for at in range(0, len(data), second // 50):
            sock.send(data[at : at + second // 50])
            if at == 2 * second:
                listener.start()
                sock.send("DTMF_END digit:5")
            while at / second - server.heard_s(call) > AHEAD_S and at % second == 0:
                time.sleep(0.02)
    listener.join(30)
    check(events, path, profiled_bundle)
    row = committed(server.out, f"live:asterisk/{call}")
    assert (row["status"], row["sample_rate_hz"]) == ("done", rate)


def test_past_the_limit_new_calls_are_refused_and_the_others_go_on(server, stereo):
    with ExitStack() as stack:
        opened = [stack.enter_context(server.socket("/audio")) for _ in range(4)]
        for number, sock in enumerate(opened):
            sock.send(json.dumps({"call": f"full-{number}", "channels": 2}))
            assert json.loads(sock.recv())["event"] == "accepted"
        with server.socket("/audio") as sock:
            sock.send(json.dumps({"call": "too-many"}))
            assert received(sock) == []
            assert sock.close_code == 1013
        for sock in opened:
            sock.send(stereo[:8000].tobytes())
            sock.send('{"event": "end"}')
            received(sock)
            assert sock.close_code == 1000


@pytest.mark.parametrize(
    ("path", "messages"),
    [
        ("/audio", ["no json"]),
        ("/audio", ['{"sample_rate": 1}']),
        ("/audio", ['{"call": "a\\n"}']),
        ("/audio", ["[" * 200_000]),
        ("/audio", [b"audio without a header"]),
        ("/audio", ['{"call": "wrong-later"}', "no json"]),
        ("/asterisk", ["no MEDIA_START"]),
        ("/asterisk", ["MEDIA_START connection_id:1 format:opus"]),
        ("/asterisk", [b"audio without a start"]),
        ("/twilio", ["no json"]),
        ("/twilio", ['{"event": "media", "media": {"track": "inbound"}}']),
    ],
)
def test_a_wrong_message_ends_its_own_call_alone(path, messages, server):
    with server.socket("/audio") as other:
        other.send(json.dumps({"call": "other"}))
        other.recv()
        with server.socket(path) as sock:
            for message in messages:
                sock.send(message)
            received(sock)
            assert sock.close_code == 1007
        other.send(b"\0" * 1600)
        other.send('{"event": "end"}')
        with pytest.raises(ConnectionClosed) as ended:
            other.recv()
        assert ended.value.rcvd.code == 1000


def test_nobody_gets_in_without_the_token_or_from_another_page(server):
    with server.get("/healthz", token="") as answer:
        assert json.load(answer)["status"] == "ok"
    for token, headers in (("", {}), ("wrong", {}), (TOKEN, {"Origin": "http://x"})):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get("/calls", token, **headers)
        assert refused.value.code in (401, 403)
        given = {"Authorization": f"Bearer {token}"} | headers
        with pytest.raises(InvalidStatus):
            server.socket("/audio", additional_headers=given)
    with pytest.raises(urllib.error.HTTPError):
        server.get("/calls", Host="rebound.example.com")
    with connect(server.url(f"/audio?token={TOKEN}", "ws")) as sock:
        sock.send('{"call": "by-query"}')
        assert json.loads(sock.recv())["event"] == "accepted"


def test_what_comes_too_fast_is_left_out_and_told(server, stereo):
    with server.socket("/audio") as sock:
        sock.send(json.dumps({"call": "flood", "channels": 1, "events": True}))
        noise = np.random.default_rng(0).integers(-9000, 9000, 60 * RATE)
        for _ in range(10):
            sock.send(noise.astype("<i2").tobytes()[: 1 << 19])
        sock.send('{"event": "end"}')
        events = [json.loads(message) for message in sock]
    assert any(own["event"] == "gap" for own in events)
    assert events[-1]["duration_s"] < 10 * 33
    with server.get("/metrics") as answer:
        text = answer.read().decode()
    dropped = next(
        line for line in text.splitlines() if line.startswith("ser_dropped_seconds_to")
    )
    assert float(dropped.split()[1]) > 0
    assert 'ser_calls_accepted_total{protocol="plain"}' in text


def test_sigterm_lets_calls_end_and_commits_what_there_is(
    tmp_path, profiled_bundle, stereo
):
    own = started(tmp_path / "out", profiled_bundle, "--drain-s", 1)
    with own.socket("/audio") as sock:
        sock.send(json.dumps({"call": "partial", "channels": 2}))
        sock.recv()
        send(own, sock, "partial", stereo[: 20 * RATE])
        # Asterisk is connected, too, once without having said anything.
        with (
            socket.create_connection(("127.0.0.1", own.asterisk)) as named,
            socket.create_connection(("127.0.0.1", own.asterisk)),
        ):
            number = uuid.uuid4()
            named.sendall(
                b"\x01\x00\x10" + number.bytes + b"\x10\x06\x40" + bytes(1600)
            )
            wait_until(lambda: own.heard_s(str(number)) > 0)
            assert own.stop() == 0
    assert own.process.stdout is not None
    assert "Traceback" not in own.process.stdout.read()
    rows = open_results(own.out).recordings().sort_values("location")
    assert len(rows) == 2
    row = rows.iloc[1]
    assert row.location == "live:plain/partial"
    assert "cut off: the server was stopped" in row.notes
    assert row.duration_s == pytest.approx(20, abs=1)
    assert verify(own.out).sound


def test_after_a_kill_the_next_start_says_which_calls_were_cut(
    tmp_path, profiled_bundle, stereo
):
    own = started(tmp_path / "out", profiled_bundle)
    with own.socket("/audio") as sock:
        sock.send(json.dumps({"call": "kept", "channels": 2}))
        sock.recv()
        send(own, sock, "kept", stereo[: 5 * RATE])
        sock.send('{"event": "end"}')
        with pytest.raises(ConnectionClosed):
            sock.recv()
    committed(own.out, "live:plain/kept")
    with own.socket("/audio") as sock:
        sock.send(json.dumps({"call": "lost"}))
        sock.recv()
        own.process.kill()
        own.process.wait()
    command = command_line(
        "serve", "--port", 0, "--out", own.out, "--bundle", profiled_bundle
    )
    again = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert again.stdout is not None
    said = again.stdout.readline()
    assert "not kept by the last server: plain call lost, begun at" in said
    assert "Serving" in again.stdout.readline()
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0
    assert len(open_results(own.out).recordings()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "give --tls-certificate and --tls-key"),
        (["--public-host", "ser.example.com"], "set SER_TOKEN in the environment"),
        (["--tls-key", "key.pem"], "go together"),
        (["--public-host", "ser.example.com:8765"], "not the name of a host"),
        (["--public-host", "a*b"], "not the name of a host"),
        (["--allow", "10.0.0.0/8"], "give --audiosocket-port"),
        (["--webhook", "https://example.com"], "SER_WEBHOOK_SECRET must be"),
        (["--audiosocket-port", "9", "--roles", "agent,customer"], "told apart"),
        (["--audiosocket-port", "9", "--allow", "nowhere"], "not an address"),
        (["--out", "s3://bucket/live"], "needs a folder on this machine"),
    ],
)
def test_what_would_be_open_to_everybody_is_refused(options, message):
    done = ser("serve", *options)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())

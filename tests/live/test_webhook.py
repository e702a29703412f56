"""Events reach the webhook once, in order and signed, however it behaves."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx", reason="the extra `live` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")
pytest.importorskip("standardwebhooks", reason="the dev tools are not installed")

import standardwebhooks

from ser_batch.errors import UsageError
from ser_batch.live.server import webhook as sending
from ser_batch.live.server.metrics import Metrics
from ser_batch.live.server.webhook import MOST_SENT, Receiver, Webhook
from tests.support.live_server import RATE, send, started
from tests.support.paths import EXAMPLES
from tests.support.waiting import in_own_loop

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""As in the specification's examples."""
MOST_WAITING = 500


@dataclass
class Answering:
    """A receiver on this machine, which checks signatures with another library."""

    answers: list[int] = field(default_factory=list)
    """The statuses of the first requests; of later ones, 204."""
    events: list[dict] = field(default_factory=list)
    """Of the requests that were answered with success."""
    ids: list[str] = field(default_factory=list)
    """Of all requests."""
    url: str = ""


@contextmanager
def receiver() -> Iterator[Answering]:
    own = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            checked = standardwebhooks.Webhook(SECRET).verify(body, dict(self.headers))
            own.ids.append(self.headers["webhook-id"])
            status = own.answers.pop(0) if own.answers else 204
            if status < 300:
                assert checked["type"] == "call.events"
                own.events += checked["data"]["events"]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.url = f"http://127.0.0.1:{server.server_address[1]}/calls"
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    try:
        yield own
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiving() -> Iterator[Answering]:
    with receiver() as own:
        yield own


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(sending, "GATHERED_S", 0.01)
    monkeypatch.setattr(sending, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(sending, "MOST_WAITING", MOST_WAITING)


def sent(url: str, n: int, wait_s: float = 20.0) -> Metrics:
    """Send `n` numbered events, and return what was counted."""
    metrics = Metrics()

    async def run() -> None:
        own = Webhook(Receiver.of(url, SECRET), metrics)
        own.start()
        for number in range(n):
            own.tell({"call": "a", "number": number})
            if number % 50 == 0:
                await asyncio.sleep(0.002)
        await own.close(wait_s)

    in_own_loop(run())
    return metrics


def counted(metrics: Metrics, name: str) -> float:
    lines = metrics.text().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(name))


def numbers(receiving: Answering) -> list[int]:
    return [event["number"] for event in receiving.events]


def test_events_for_this_machine_do_not_go_to_a_proxy(receiving, monkeypatch):
    with receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        sent(receiving.url, 3)
    assert numbers(receiving) == [0, 1, 2]
    assert proxy.ids == []


def test_events_wait_for_each_other_unless_they_fill_a_request(receiving, monkeypatch):
    monkeypatch.setattr(sending, "GATHERED_S", 60.0)
    metrics = Metrics()

    async def run() -> None:
        own = Webhook(Receiver.of(receiving.url, SECRET), metrics)
        own.start()
        for number in range(MOST_SENT + 5):
            own.tell({"call": "a", "number": number})
        while len(receiving.events) < MOST_SENT:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert numbers(receiving) == list(range(MOST_SENT))
        await own.close(20.0)

    in_own_loop(run())
    assert numbers(receiving) == list(range(MOST_SENT + 5))


def test_a_server_sends_its_events_also_those_of_a_call_that_sigterm_ends(
    receiving, profiled_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("SER_WEBHOOK_SECRET", SECRET)
    server = started(
        tmp_path / "results", profiled_bundle, "--most-calls", 4, "--drain-s", 0,
        "--webhook", receiving.url, has_audiosocket=False,
    )  # fmt: skip
    samples, _ = soundfile.read(EXAMPLES / "billing" / "1001.wav", dtype="int16")
    with server.socket("/audio") as sock:
        sock.send('{"call": "a", "channels": 1}')
        sock.recv()
        send(server, sock, "a", samples[: 30 * RATE, 1])
        assert server.stop() == 0
    names = [event["event"] for event in receiving.events]
    assert names[0] == "begun"
    assert names[-1] == "ended"
    scored = [own for own in receiving.events if own["event"] == "segment"]
    assert scored
    assert all(own["is_final"] for own in scored)
    assert {own["call"] for own in receiving.events} == {"a"}


def test_events_come_in_order_and_signed(receiving):
    metrics = sent(receiving.url, 3 * MOST_SENT + 7)
    assert numbers(receiving) == list(range(3 * MOST_SENT + 7))
    assert counted(metrics, "ser_webhook_lost_total") == 0
    assert len(set(receiving.ids)) == len(receiving.ids) >= 4


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([500, 503, 429, 408]), max_size=4))
def test_what_fails_is_sent_again_under_the_same_name_and_nothing_twice(failures):
    with receiver() as own:
        own.answers += failures
        sent(own.url, 5)
    assert numbers(own) == list(range(5))
    assert len(set(own.ids[: len(failures) + 1])) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
def test_what_is_refused_for_good_does_not_hold_up_the_rest(status, receiving):
    receiving.answers.append(status)
    metrics = sent(receiving.url, 2 * MOST_SENT)
    lost = counted(metrics, "ser_webhook_lost_total")
    assert lost >= 1
    assert numbers(receiving) == list(range(int(lost), 2 * MOST_SENT))


def test_a_receiver_that_is_away_costs_the_oldest_events_and_never_the_calls():
    metrics = sent("http://127.0.0.1:9/", MOST_WAITING + 500, wait_s=0.2)
    assert counted(metrics, "ser_webhook_lost_total") == MOST_WAITING + 500
    assert counted(metrics, "ser_webhook_requests_total") >= 1


def test_after_an_outage_the_latest_events_come_in_order(receiving):
    receiving.answers += [503] * 3
    metrics = sent(receiving.url, MOST_WAITING + 700)
    found = numbers(receiving)
    assert found == sorted(set(found))
    assert found[-1] == MOST_WAITING + 699
    lost = counted(metrics, "ser_webhook_lost_total")
    assert len(found) == MOST_WAITING + 700 - lost


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("ftp://example.com", SECRET, "not an address"),
        ("example.com/calls", SECRET, "not an address"),
        ("https://example.com:port/", SECRET, "not an address"),
        ("https://xn--a.com/", SECRET, "not an address"),
        ("https://[::1/x", SECRET, "not an address"),
        ("https://example.com/\x00", SECRET, "not an address"),
        ("http://example.com/calls", SECRET, "unencrypted"),
        ("https://example.com/calls", "", "SER_WEBHOOK_SECRET must be whsec_"),
        ("https://example.com/calls", "whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("https://example.com/calls", "whsec_ä", "24 to 64 bytes"),
        ("https://example.com/calls", SECRET[6:], "SER_WEBHOOK_SECRET must be whsec_"),
    ],
)
def test_addresses_and_secrets_that_would_not_be_safe_are_refused(url, secret, message):
    with pytest.raises(UsageError, match=message):
        Receiver.of(url, secret)
    assert SECRET[6:] not in repr(Receiver.of("https://example.com/", SECRET))


def test_the_signature_is_that_of_the_specification():
    body = json.dumps({"test": 2432232314}).encode()
    own = Receiver.of("https://example.com/", SECRET)
    headers = own.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", body)
    assert standardwebhooks.Webhook(SECRET).verify(body, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(body + b" ", headers)

"""Only those who know the secrets get in, and what they say is encrypted."""

import base64
import json
import os
import ssl
import urllib.request
from collections.abc import Iterator
from http.client import HTTPSConnection

import pytest

pytest.importorskip("websockets", reason="the extra `live` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")
pytest.importorskip("trustme", reason="the dev tools are not installed")
pytest.importorskip("twilio", reason="the dev tools are not installed")

import trustme
from twilio.request_validator import RequestValidator
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.live_messages import CONNECTED, START, STOP
from tests.support.live_server import TOKEN, Server, started

ACCOUNT = "an-account-token"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory, profiled_bundle, authority) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TWILIO_AUTH_TOKEN", ACCOUNT)
        own = started(
            folder / "results", profiled_bundle, "--most-calls", 4,
            "--public-host", "calls.example.com",
            "--tls-certificate", folder / "certificate.pem",
            "--tls-key", folder / "key.pem",
        )  # fmt: skip
    yield own
    own.process.kill()
    own.process.wait()


@pytest.fixture
def trusting(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_calls_and_pages_go_over_tls(server, trusting):
    with connect(
        server.url("/audio", "wss"), ssl=trusting,
        additional_headers={"Authorization": f"Bearer {TOKEN}"},
    ) as sock:  # fmt: skip
        sock.send('{"call": "encrypted"}')
        assert json.loads(sock.recv())["event"] == "accepted"
        sock.send('{"event": "end"}')
    address = server.url("/healthz", "https")
    with urllib.request.urlopen(address, context=trusting, timeout=20) as answer:
        assert json.load(answer)["status"] == "ok"
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server.url("/audio", "wss"), ssl=ssl.create_default_context())


def test_the_token_may_be_the_password_of_any_user(server, trusting):
    def opened(password: str):
        pair = base64.b64encode(f"asterisk:{password}".encode()).decode()
        given = {"Authorization": f"Basic {pair}"}
        address = server.url("/asterisk", "wss")
        return connect(address, ssl=trusting, additional_headers=given)

    with opened(TOKEN) as sock:
        sock.send("no MEDIA_START")
        with pytest.raises(Exception, match="1007"):
            sock.recv()
    with pytest.raises(InvalidStatus):
        opened("wrong")


@pytest.mark.parametrize("account", [ACCOUNT, "another-account-token"])
def test_streams_of_twilio_are_taken_if_twilios_library_signs_them(
    account, server, trusting
):
    # Twilio cannot send the token: addresses of streams have no query.
    address = server.url("/twilio", "wss")
    signature = RequestValidator(account).compute_signature(address, {})
    given = {"X-Twilio-Signature": signature}
    with pytest.raises(InvalidStatus):
        connect(address, ssl=trusting, additional_headers={"X-Twilio-Signature": "é"})
    if account != ACCOUNT:
        with pytest.raises(InvalidStatus):
            connect(address, ssl=trusting, additional_headers=given)
        return
    with connect(address, ssl=trusting, additional_headers=given) as sock:
        sock.send(CONNECTED)
        sock.send(START)
        sock.send(STOP)
        with pytest.raises(Exception, match="1000"):
            sock.recv()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "calls.example.com"}, 200),
        ({"Host": "rebound.example.com"}, 400),
        ({"Origin": "http://[x"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_names_of_others_are_refused_and_that_of_the_proxy_is_not(
    headers, status, server, trusting
):
    own = HTTPSConnection("127.0.0.1", server.port, timeout=20, context=trusting)
    own.request("GET", "/healthz", headers=headers)
    assert own.getresponse().status == status

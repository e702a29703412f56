"""A web page whose host name was rebound to this machine does not reach the server."""

import pytest

pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")
pytest.importorskip("httpx", reason="the extra `live` is not installed")

from starlette.testclient import TestClient

from ser_batch.addresses import Address
from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.live.server.app import Secrets, live_app
from ser_batch.live.server.hub import Hub
from ser_batch.speech.silero import SileroVad


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost", 200),
        ("[::1]:8765", 200),
        ("[::2]:8765", 400),
        ("rebound.example.com:8765", 400),
        ("::1.example.com", 400),
    ],
)
@pytest.mark.parametrize("listening_on", ["127.0.0.1", "localhost", "::1"])
def test_only_the_names_of_this_machine_reach_it(
    listening_on, host, expected, profiled_bundle
):
    hub = Hub(
        load_scorer(str(profiled_bundle), "cpu"), SileroVad(), Config(), most_calls=1
    )
    app = live_app(hub, Address(listening_on).names, Secrets())
    answer = TestClient(app).get("/healthz", headers={"Host": host})
    assert answer.status_code == expected

"""A supervisor sees in a browser which call needs help."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets", reason="the extra `live` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")

from tests.support.live_server import RATE, TOKEN, Server, send, started
from tests.support.pages import browser_needed
from tests.support.paths import EXAMPLES
from tests.support.waiting import wait_until

ODD = "x@x.-:+"  # the oddest id that a call may have


@pytest.fixture(scope="module")
def server(tmp_path_factory, profiled_bundle) -> Iterator[Server]:
    out = tmp_path_factory.mktemp("page") / "results"
    own = started(
        out, profiled_bundle, "--most-calls", 4, "--roles", "agent,customer",
        has_audiosocket=False,
    )  # fmt: skip
    yield own
    own.process.kill()
    own.process.wait()


@pytest.fixture(scope="module")
def stereo() -> np.ndarray:
    path = EXAMPLES / "billing" / "1001.wav"
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


def opened(chromium, address: str, **options):
    page = chromium.new_context(**options).new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    return page


def names(page) -> list[str]:
    return page.locator("#calls .name").all_inner_texts()


@browser_needed
def test_calls_are_shown_by_need_and_go_when_they_end(server, stereo, chromium):
    page = opened(chromium, server.url(f"/#token={TOKEN}"))
    page.wait_for_selector("#none:visible")
    assert "0 of at most 4" in page.inner_text("#state")
    quiet = np.zeros((3 * RATE, 2), np.int16)
    with server.socket("/audio") as first, server.socket("/audio") as second:
        for sock, call in ((first, "quiet"), (second, ODD)):
            sock.send(json.dumps({"call": call, "channels": 2}))
            sock.recv()
        send(server, first, "quiet", quiet)
        send(server, second, ODD, stereo[: 30 * RATE])
        page.wait_for_selector("#calls .high, #calls rect:not(.talks)", timeout=60_000)
        assert names(page) == [ODD, "quiet"]
        entry = page.locator("#calls li").first
        assert float(entry.locator(".distress").inner_text()) > 0
        assert entry.locator(".strips span").all_inner_texts() == ["agent", "customer"]
        agent, customer = entry.locator("svg").all()
        # The agent is timed, and not scored.
        assert agent.locator("rect.talks").count() > 0
        assert agent.locator("rect:not(.talks)").count() == 0
        assert customer.locator("rect:not(.talks)").count() > 0
        assert page.locator("#calls li").last.locator(".distress").inner_text() == "–"
    wait_until(lambda: page.wait_for_timeout(100) or not names(page), "they are gone")
    assert page.complaints == []


@browser_needed
def test_the_token_is_asked_for_and_travels_in_no_address(server, chromium):
    page = opened(chromium, server.url("/"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_selector("#ask:visible")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=That is not the token.")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#none:visible")
    assert not page.locator("#ask").is_visible()
    assert asked
    assert not any(TOKEN in address for address in asked)
    assert page.complaints == []


@browser_needed
def test_the_page_says_when_the_server_is_gone(tmp_path, profiled_bundle, chromium):
    own = started(tmp_path / "results", profiled_bundle, "--most-calls", 4)
    page = opened(chromium, own.url(f"/#token={TOKEN}"), color_scheme="dark")
    page.wait_for_selector("#none:visible")
    assert own.stop() == 0
    page.wait_for_selector("text=The server does not answer.")
    assert not page.locator("#none").is_visible()


@browser_needed
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(width, server, stereo, chromium):
    size = {"width": width, "height": 700}
    with server.socket("/audio") as sock:
        call = f"{width}-" + "a-very-long-name-" * 10
        sock.send(json.dumps({"call": call, "channels": 2}))
        sock.recv()
        send(server, sock, call, stereo[: 20 * RATE])
        page = opened(chromium, server.url(f"/#token={TOKEN}"), viewport=size)
        page.wait_for_selector("#calls rect")
        box = page.locator("#calls li").first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        for own in page.locator("#calls li *").all():
            if inner := own.bounding_box():
                assert inner["x"] + inner["width"] <= width + 1

"""One call that goes wrong harms no other; a listener that does not read, nobody."""

import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
import soundfile

pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.live.call_stream import CallState
from ser_batch.live.events import Gap
from ser_batch.live.server.call import MOST_EVENTS, TOLD_BEFORE, Call
from ser_batch.live.server.hub import MOST_WAITING_S, CallOverError, Hub, NoRoomError
from ser_batch.speech.silero import SileroVad
from tests.support.paths import EXAMPLES
from tests.support.waiting import in_own_loop


@pytest.fixture(scope="module")
def scorer(profiled_bundle):
    return load_scorer(str(profiled_bundle), "cpu")


@pytest.fixture(scope="module")
def mono() -> np.ndarray:
    samples, _ = soundfile.read(EXAMPLES / "billing" / "1001.wav", dtype="float32")
    return np.ascontiguousarray(samples[: 9 * 8000, 1])


def with_hub(scorer, work: Callable[[Hub], Awaitable[None]]) -> None:
    """Run something with a hub that has room for two calls."""

    async def run() -> None:
        hub = Hub(scorer, SileroVad(), Config(), most_calls=2)
        hub.start()
        try:
            await work(hub)
        finally:
            await hub.drain(0.0)

    in_own_loop(run())


@pytest.mark.parametrize("stage", ["feed", "add", "last", "end", "analysis"])
def test_a_call_that_fails_at_any_stage_ends_alone(stage, scorer, mono, monkeypatch):
    real = getattr(CallState, stage)

    def failing(self, *args, **kwargs):
        if self in broken:
            raise RuntimeError("broken")
        return real(self, *args, **kwargs)

    broken: list[CallState] = []
    monkeypatch.setattr(CallState, stage, failing)

    async def work(hub: Hub) -> None:
        wrong, sound = (hub.begin(name, "plain", 8000, 1) for name in "ab")
        broken.append(wrong.state)
        with wrong.heard_by_one() as first, sound.heard_by_one() as second:
            for call in (wrong, sound):
                hub.push(call, 0, mono)
                hub.end(call)
            told = [[event async for event in own] for own in (first, second)]
        assert told[0][-1]["event"] == told[1][-1]["event"] == "ended"
        assert "failed unexpectedly" in told[0][-1]["notes"][0]
        assert told[1][-1]["notes"] == []
        assert [own for own in told[1] if own["event"] == "segment"]
        assert not hub.calls

    with_hub(scorer, work)


def test_a_machine_that_is_too_slow_leaves_audio_out_says_so_and_keeps_no_more(
    scorer, mono, monkeypatch
):
    """The worker hears nothing until the test lets it, as if others took its time."""
    may_hear = threading.Event()
    real = Hub._tick

    def slow(self) -> None:
        may_hear.wait()
        real(self)

    monkeypatch.setattr(Hub, "_tick", slow)
    packet, n = mono[:800], 400

    async def work(hub: Hub) -> None:
        try:
            call = hub.begin("a", "plain", 8000, 1)
            with call.heard_by_one() as listener:
                for _ in range(n):
                    hub.push(call, 0, packet)
                    assert call.waiting_s <= MOST_WAITING_S
                may_hear.set()
                hub.end(call)
                told = [event async for event in listener]
        finally:
            may_hear.set()
        gaps = [event for event in told if event["event"] == "gap"]
        left_out_s = sum(float(gap["reason"].split()[0]) for gap in gaps)
        assert gaps
        assert told[-1]["duration_s"] + left_out_s == pytest.approx(n / 10)
        assert told[-1]["notes"] == [
            f"{left_out_s:g} s came faster than they could be heard, and were left out"
        ]
        dropped = [
            float(line.split()[1])
            for line in hub.metrics.text().decode().splitlines()
            if line.startswith("ser_dropped_seconds_total")
        ]
        assert dropped == [pytest.approx(left_out_s)]

    with_hub(scorer, work)


def test_a_call_fails_once_and_tells_what_it_knew(scorer, mono, monkeypatch):
    """However many of its pieces cannot be scored; then its client is told."""

    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("ser_batch.live.server.hub.score", broken)

    async def work(hub: Hub) -> None:
        call = hub.begin("a", "plain", 8000, 1)
        with call.heard_by_one() as listener:
            hub.push(call, 0, mono)
            hub.end(call)
            told = [event["event"] async for event in listener]
        assert told.count("ended") == 1
        assert told[-1] == "ended"
        assert "speech" in told
        assert 'ser_calls_ended_total{how="failed"} 1.0' in hub.metrics.text().decode()
        with pytest.raises(CallOverError):
            hub.push(call, 0, mono)

    with_hub(scorer, work)


def test_a_call_of_many_channels_takes_the_room_of_several(scorer):
    async def work(hub: Hub) -> None:
        hub.begin("wide", "plain", 8000, 4)
        with pytest.raises(NoRoomError):
            hub.begin("narrow", "plain", 8000, 1)

    with_hub(scorer, work)


def test_an_id_is_free_again_as_soon_as_its_call_is_ending(scorer):
    """Twilio stops a stream and starts the next one of a call at once."""

    async def work(hub: Hub) -> None:
        first = hub.begin("a", "twilio", 8000, 1)
        hub.end(first)
        second = hub.begin("a", "twilio", 8000, 1)
        await first.ended.wait()
        assert hub.calls == [second]
        assert hub.call("a") is second

    with_hub(scorer, work)


def test_calls_without_content_are_not_copies_of_each_other(scorer):
    async def work(hub: Hub) -> None:
        first, second = (hub.begin(name, "plain", 8000, 1) for name in "ab")
        assert first.content_hash != second.content_hash

    with_hub(scorer, work)


def test_there_is_room_again_when_a_call_has_ended(scorer, mono):
    async def work(hub: Hub) -> None:
        calls = [hub.begin(str(number), "plain", 8000, 1) for number in range(2)]
        with pytest.raises(NoRoomError):
            hub.begin("2", "plain", 8000, 1)
        hub.end(calls[0])
        await calls[0].ended.wait()
        with pytest.raises(ValueError, match="going on already"):
            hub.begin("1", "plain", 8000, 1)
        hub.begin("2", "plain", 8000, 1)

    with_hub(scorer, work)


def test_a_listener_that_does_not_read_is_cut_off_and_sees_the_end(scorer):
    async def work(hub: Hub) -> None:
        call = hub.begin("a", "plain", 8000, 1)
        with call.heard_by_one() as listener:
            for number in range(MOST_EVENTS):
                hub._publish(call, [Gap(0, number, number, "")])
            assert listener.is_cut_off
            assert not call.listeners
            starts = [event["start_s"] async for event in listener]
            # The first event, that it begins, made room for the end.
            assert starts == list(range(MOST_EVENTS - 1))
        text = hub.metrics.text().decode()
        assert "ser_listeners_cut_off_total 1.0" in text

    with_hub(scorer, work)


def test_who_comes_late_is_told_the_latest_and_who_leaves_is_forgotten(scorer):
    async def work(hub: Hub) -> None:
        call: Call = hub.begin("a", "plain", 8000, 1)
        call.history.extend({"number": number} for number in range(2 * TOLD_BEFORE))
        with call.heard_by_one() as listener:
            assert listener.queue.qsize() == TOLD_BEFORE
            assert listener.queue.get_nowait() == {"number": TOLD_BEFORE}
        assert not call.listeners

    with_hub(scorer, work)


def test_who_comes_as_a_call_ends_is_told_what_there_was_and_waits_for_no_more(scorer):
    """Between a request and its answer, the call may have ended."""

    async def work(hub: Hub) -> None:
        call = hub.begin("a", "plain", 8000, 1)
        hub.end(call)
        await call.ended.wait()
        with call.heard_by_one() as listener:
            told = [event["event"] async for event in listener]
        assert told == ["begun", "ended"]

    with_hub(scorer, work)

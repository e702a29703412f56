"""Calls that have ended are written once, and none is forgotten without a word."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.profile import read_profile
from ser_batch.errors import ResultsError
from ser_batch.live.call_stream import CallStream
from ser_batch.live.server import ledger as ledgers
from ser_batch.live.server.ledger import Ledger, open_ledger
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results
from ser_batch.results.writing import ResultsWriter
from ser_batch.sources.source import Stamp
from tests.support.commands import ser
from tests.support.paths import EXAMPLES
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def scorer(profiled_bundle):
    return load_scorer(str(profiled_bundle), "cpu")


@pytest.fixture(scope="module")
def ended(scorer) -> Iterator:
    """Return a function that begins and ends a call of some length."""
    samples, rate = soundfile.read(EXAMPLES / "billing" / "1001.wav", dtype="float32")

    def end(
        ledger: Ledger, call: str, protocol: str = "plain", seconds: float = 12.0
    ) -> None:
        entry = ledger.begin(call, protocol)
        stream = CallStream(scorer, Config(), sample_rate=rate, channels=1)
        stream.feed(0, np.ascontiguousarray(samples[: round(seconds * rate), 1]))
        stream.finish()
        own = entry.recording
        ledger.end(entry, stream.state.analysis(own, Stamp(1, 1), own.location))

    return end


def locations(directory) -> list[str]:
    return sorted(open_results(directory).recordings().location)


def test_a_directory_that_cannot_be_opened_again_keeps_the_latest_calls(
    scorer, ended, tmp_path, monkeypatch
):
    """The full disk that ends a writer lets no other begin."""
    monkeypatch.setattr(ledgers, "AGAIN_S", 0.01)
    monkeypatch.setattr(ledgers, "MOST_UNWRITTEN", 3)
    is_full = threading.Event()

    def failing(real):
        def call(self, *args):
            if is_full.is_set():
                raise ResultsError("no space left")
            return real(self, *args)

        return call

    for name in ("commit", "write_record"):
        real = getattr(ResultsWriter, name)
        monkeypatch.setattr(ResultsWriter, name, failing(real))
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        is_full.set()
        ended(ledger, "0")
        wait_until(lambda: ledger.error is not None, "it cannot be written")
        for number in range(1, 7):
            ended(ledger, str(number))
        wait_until(ledger._ended.empty, "none waits in the queue")
        is_full.clear()
        wait_until(lambda: ledger.error is None, "it can be written again")
    assert locations(tmp_path) == [f"live:plain/{number}" for number in (4, 5, 6)]


def test_calls_become_rows_that_a_report_reads(scorer, ended, tmp_path):
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        for call in ("a", "b"):
            ended(ledger, call)
        # Another call may have the same id elsewhere.
        ended(ledger, "a", "twilio")
    assert locations(tmp_path) == ["live:plain/a", "live:plain/b", "live:twilio/a"]
    assert open_results(tmp_path).recordings().recording_id.is_unique
    assert verify(tmp_path).sound
    assert ser("report", tmp_path).returncode == 0
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        assert ledger.cut == []


def test_a_call_with_an_id_that_was_there_is_another_call(scorer, ended, tmp_path):
    """While the server runs, and after it was started anew."""
    for _ in range(2):
        with open_ledger(tmp_path, scorer, Config(), None) as ledger:
            for seconds in (12.0, 20.0):
                ended(ledger, "a", seconds=seconds)
    names = ["live:plain/a", *(f"live:plain/a#{number}" for number in (2, 3, 4))]
    assert locations(tmp_path) == names
    assert verify(tmp_path).sound


def test_calls_that_are_never_written_are_named_by_the_next_start(
    scorer, ended, tmp_path, monkeypatch
):
    def full(self):
        raise ResultsError("no space left on device")

    def write() -> None:
        with open_ledger(tmp_path, scorer, Config(), None) as ledger:
            ended(ledger, "a")

    with monkeypatch.context() as patch:
        patch.setattr(ResultsWriter, "commit", full)
        with pytest.raises(ResultsError, match="no space"):
            write()
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        assert [(own.call, own.protocol) for own in ledger.cut] == [("a", "plain")]
        ended(ledger, "b")
    assert locations(tmp_path) == ["live:plain/b"]


@pytest.mark.parametrize("error", [ResultsError("no space left"), OSError("odd")])
def test_calls_are_written_when_there_is_room_again(
    error, scorer, ended, tmp_path, monkeypatch
):
    """Whatever the error was, and those that ended meanwhile as well, once each."""
    monkeypatch.setattr("ser_batch.live.server.ledger.COMMIT_S", 0.01)
    monkeypatch.setattr("ser_batch.live.server.ledger.AGAIN_S", 0.01)
    is_full, real = threading.Event(), ResultsWriter.commit

    def commit(self):
        if is_full.is_set() and self._waiting:
            raise error
        real(self)

    monkeypatch.setattr(ResultsWriter, "commit", commit)
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        ended(ledger, "before")
        wait_until(lambda: locations(tmp_path) == ["live:plain/before"])
        is_full.set()
        ended(ledger, "during")
        wait_until(lambda: ledger.error is not None)
        ended(ledger, "later")
        is_full.clear()
        wait_until(lambda: len(locations(tmp_path)) == 3)
        wait_until(lambda: ledger.error is None)
        wait_until(lambda: not list((tmp_path / ".live").iterdir()))
    assert locations(tmp_path) == [
        f"live:plain/{own}" for own in ("before", "during", "later")
    ]
    assert verify(tmp_path).sound


def test_an_entry_is_its_calls_own_and_one_that_is_empty_is_told(
    scorer, ended, tmp_path
):
    """An earlier call with the same id takes only its own entry with it."""
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        ended(ledger, "again")
        ledger.begin("again", "plain")
        # As on a full disk.
        ledger.begin("nameless", "plain").path.write_text("")
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        told = sorted((own.call, own.protocol) for own in ledger.cut)
        assert told == [("?", "?"), ("again#2", "plain")]
        assert all(own.begun_at > 0 for own in ledger.cut)


def test_two_servers_do_not_share_a_directory(scorer, tmp_path):
    with (
        open_ledger(tmp_path, scorer, Config(), None),
        pytest.raises(ResultsError, match="another run"),
        open_ledger(tmp_path, scorer, Config(), None),
    ):
        pass


def test_live_calls_and_those_of_the_night_become_one_if_they_share_their_profile(
    profiled_bundle, calls, ended, tmp_path
):
    night, live = tmp_path / "night", tmp_path / "live"
    common = ("--bundle", profiled_bundle, "--quiet", "--out")
    assert ser("analyze", calls, *common, night).returncode == 3
    (own,) = night.glob("profile-*.json")
    profile = read_profile(own)
    scorer = load_scorer(str(profiled_bundle), "cpu", profile)
    with open_ledger(live, scorer, Config(), profile) as ledger:
        ended(ledger, "silent", seconds=0.0)
        ended(ledger, "silent", seconds=0.0)
        ended(ledger, "a")
    merged = ser("merge", tmp_path / "both", night, live)
    assert merged.returncode == 0, merged.stderr
    rows = open_results(tmp_path / "both").recordings()
    assert len(rows) == len(open_results(night).recordings()) + 3
    assert set(rows.status[rows.location.str.startswith("live:")]) == {"done"}
    assert verify(tmp_path / "both").sound
    assert ser("report", tmp_path / "both").returncode == 0

"""Calls that have ended are written once, and none is forgotten without a word."""

from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.loading import load_scorer
from ser_batch.errors import ResultsError
from ser_batch.live.call_stream import CallStream
from ser_batch.live.server.ledger import live_recording, open_ledger
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results
from ser_batch.results.writing import ResultsWriter
from ser_batch.sources.source import Stamp
from tests.support.commands import ser
from tests.support.paths import EXAMPLES


@pytest.fixture(scope="module")
def scorer(profiled_bundle):
    return load_scorer(str(profiled_bundle), "cpu")


@pytest.fixture(scope="module")
def ended(scorer) -> Iterator:
    """Return a function that gives an ended call of some length."""
    samples, rate = soundfile.read(EXAMPLES / "billing" / "1001.wav", dtype="float32")

    def end(call: str, protocol: str = "plain", seconds: float = 12.0) -> Analysis:
        stream = CallStream(scorer, Config(), sample_rate=rate, channels=1)
        stream.feed(0, np.ascontiguousarray(samples[: round(seconds * rate), 1]))
        stream.finish()
        recording = live_recording(call, protocol)
        return stream.state.analysis(recording, Stamp(1, 1), call)

    return end


def test_calls_become_rows_that_a_report_reads(scorer, ended, tmp_path):
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        for call in ("a", "b"):
            ledger.begin(call, "plain")
            ledger.end(ended(call))
        # Another call may have the same id elsewhere.
        ledger.end(ended("a", "twilio"))
    rows = open_results(tmp_path).recordings()
    assert sorted(rows.location) == ["live:plain/a", "live:plain/b", "live:twilio/a"]
    assert rows.recording_id.is_unique
    assert verify(tmp_path).sound
    assert ser("report", tmp_path).returncode == 0
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        assert ledger.cut == []


def test_a_call_with_an_id_that_was_there_replaces_it(scorer, ended, tmp_path):
    for seconds in (12.0, 20.0):
        with open_ledger(tmp_path, scorer, Config(), None) as ledger:
            ledger.end(ended("a", seconds=seconds))
    (row,) = open_results(tmp_path).recordings().to_dict("records")
    assert row["duration_s"] == 20.0


def test_calls_that_cannot_be_written_are_named_by_the_next_start(
    scorer, ended, tmp_path, monkeypatch
):
    def full(self):
        raise ResultsError("no space left on device")

    def write() -> None:
        with open_ledger(tmp_path, scorer, Config(), None) as ledger:
            ledger.begin("a", "plain")
            ledger.end(ended("a"))

    with monkeypatch.context() as patch:
        patch.setattr(ResultsWriter, "commit", full)
        with pytest.raises(ResultsError, match="no space"):
            write()
    with open_ledger(tmp_path, scorer, Config(), None) as ledger:
        assert [(own.call, own.protocol) for own in ledger.cut] == [("a", "plain")]
        ledger.end(ended("b"))
    assert list(open_results(tmp_path).recordings().location) == ["live:plain/b"]

"""The summary of results: known tables, known answers."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from ser_batch.manifest import Identity
from ser_batch.report.summary import summarize
from ser_batch.report.terminal import clock, page
from ser_batch.results import Rows, open_results
from tests.conftest import ser

LABELS = ("neutral", "angry")


def recording(name: str, spans: list[tuple[float, float, float]], status: str = "done") -> Rows:
    """A recording whose customer speaks in `spans` of (start, end, probability of anger)."""
    n = len(spans)
    row = {
        "recording_id": name, "path": f"{name}.wav", "status": status,
        "duration_s": 100.0 if status == "done" else None,
        "error": None if status == "done" else "the file is empty (0 bytes)",
        "channel_talk_s": [sum(e - s for s, e, _ in spans)] if status == "done" else None, "segments": n,
        "size_bytes": 1, "input_root": "/in", "content_hash": "x", "modified_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    span = {"start_s": [s for s, _, _ in spans], "end_s": [e for _, e, _ in spans]}
    who = {"recording_id": [name] * n, "channel": [1] * n, "role": ["customer"] * n}
    angry = [p for _, _, p in spans]
    scores = {
        "path": [f"{name}.wav"] * n, "segment": list(range(n)), "confidence": [max(p, 1 - p) for p in angry],
        "label": ["angry" if p > 0.6 else "neutral" if p < 0.4 else None for p in angry],
        "p_neutral": [1 - p for p in angry], "p_angry": angry, "loudness_dbfs": [-20.0] * n,
    }  # fmt: skip
    return Rows(row, {**who, **span}, {**who, **span, **scores})


@pytest.fixture
def results(tmp_path) -> Path:
    with open_results(tmp_path / "out", Identity("m@1", "c", LABELS)) as writer:
        writer.add(recording("calm", [(0, 10, 0.1), (20, 30, 0.1)]))
        writer.add(recording("storm", [(0, 10, 0.2), (60, 62, 0.9), (70, 72, 0.8), (80, 82, 0.5)]))
        writer.add(recording("silent", []))
        writer.add(recording("broken", [], "failed"))
        writer.commit()
    return tmp_path / "out"


def test_totals_and_shares_are_weighted_by_speech_time(results):
    summary = summarize(results)
    assert (summary.recordings, summary.done, summary.failed, summary.segments) == (4, 3, 1, 6)
    assert summary.audio_h == pytest.approx(300 / 3600)
    assert summary.talk_h == pytest.approx(36 / 3600)
    angry_s = 20 * 0.1 + 10 * 0.2 + 2 * 0.9 + 2 * 0.8 + 2 * 0.5
    assert summary.emotions["angry"] == pytest.approx(angry_s / 36)
    assert sum(summary.emotions.values()) == pytest.approx(1)
    assert summary.abstained == pytest.approx(2 / 36)


def test_calls_are_ranked_by_their_strongest_moments(results):
    storm, calm = summarize(results).ranked
    assert (storm.path, calm.path) == ("storm.wav", "calm.wav")
    assert [m.start_s for m in storm.moments] == [60, 70, 80]
    assert [m.label for m in storm.moments] == ["angry", "angry", None]
    assert storm.distress == pytest.approx((0.9 + 0.8 + 0.5) / 3)
    assert len(summarize(results, top=1).ranked) == 1


def test_a_timeline_shows_where_in_the_call_the_distress_is(results):
    storm = summarize(results).ranked[0]
    parts = [t * 24 // 100 for t in (60, 70, 80)]
    assert [storm.timeline[part] for part in parts] == pytest.approx([0.9, 0.8, 0.5])
    assert storm.timeline[0] == pytest.approx(0.2)
    assert storm.timeline[4:14] == [None] * 10
    assert len(storm.timeline) == 24


def test_the_page_names_where_to_listen_and_what_failed(results):
    console = Console(width=100, file=io.StringIO())
    console.print(page(summarize(results)))
    text = console.file.getvalue()
    assert "01:00" in text
    assert "▂▂▂···········█·▇▇·▅····" in text
    assert "broken.wav" in text
    assert "empty" in text
    assert max(map(len, text.splitlines())) <= 100


def test_machines_get_the_same_as_json_and_csv(results):
    values = json.loads(ser("report", results, "--format", "json").stdout)
    assert values == json.loads(json.dumps(summarize(results, 10).to_dict()))
    assert values["failures"] == [{"path": "broken.wav", "error": "the file is empty (0 bytes)"}]
    rows = list(csv.DictReader(io.StringIO(ser("report", results, "--format", "csv").stdout)))
    assert [row["path"] for row in rows] == ["storm.wav"] * 3 + ["calm.wav"] * 2
    assert float(rows[0]["start_s"]) == 60


def test_results_without_a_segment_make_a_report(tmp_path):
    with open_results(tmp_path, Identity("m@1", "c", LABELS)) as writer:
        writer.add(recording("silent", []))
        writer.commit()
    summary = summarize(tmp_path)
    assert (summary.emotions, summary.abstained, summary.ranked) == ({}, None, [])
    Console(file=io.StringIO()).print(page(summary))


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (61.9, "01:01"), (3600, "1:00:00"), (36061, "10:01:01")])
def test_times_read_as_on_a_player(seconds, text):
    assert clock(seconds) == text

"""Shards of a job, merged, are what one run would have written."""

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.errors import ResultsError
from ser_batch.results.maintenance import verify
from ser_batch.results.merging import Merged, merge_results
from ser_batch.results.results import open_results
from ser_batch.results.rows import Rows
from ser_batch.sources.source import Recording, in_shard
from tests.support.commands import ser
from tests.support.paths import EXAMPLES
from tests.support.recordings import backdate
from tests.support.results import IDENTITY, call, write_results

SHARDS = 3


def tables(directory: Path) -> dict[str, pd.DataFrame]:
    """Return the rows of all tables, in an order that does not depend on parts."""
    results, found = open_results(directory), {}
    for name in ("recordings", "speech", "segments"):
        rows = (
            results.read(name).to_pandas().drop(columns="analyzed_at", errors="ignore")
        )
        by = [n for n in ("recording_id", "segment", "channel", "start_s") if n in rows]
        found[name] = rows.sort_values(by).reset_index(drop=True)
    return found


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_bundle) -> Path:
    """Return a folder with calls, results of one run, and those of three shards."""
    root = tmp_path_factory.mktemp("job")
    shutil.copytree(EXAMPLES, root / "calls")
    for number, copied in enumerate(("billing/1001.wav", "delivery/2001.ogg") * 3):
        source = EXAMPLES / copied
        shutil.copyfile(source, root / "calls" / f"{number}{source.suffix}")
    for path in (root / "calls").rglob("*.*"):
        backdate(path)
    common = ("analyze", root / "calls", "--bundle", tiny_bundle, "--quiet")
    assert ser(*common, "--out", root / "whole").returncode == 3
    for k in range(1, SHARDS + 1):
        done = ser(*common, "--shard", f"{k}/{SHARDS}", "--out", root / f"shard-{k}")
        assert done.returncode in (0, 3), done.stderr
    return root


def test_merged_shards_are_what_one_run_writes_in_whatever_order(job, tmp_path):
    shards = [job / f"shard-{k}" for k in range(1, SHARDS + 1)]
    sizes = [len(open_results(shard).recordings()) for shard in shards]
    assert all(sizes)
    expected = tables(job / "whole")
    assert (expected["recordings"].status == "duplicate").sum() == 6
    for seed in range(3):
        random.Random(seed).shuffle(shards)
        out = tmp_path / str(seed)
        merged = merge_results(out, shards)
        assert merged.added == sum(sizes)
        assert merged.left == merged.replaced == 0
        for name, rows in tables(out).items():
            pd.testing.assert_frame_equal(rows, expected[name])
        assert verify(out).sound


def test_merging_again_or_one_by_one_changes_nothing(job, tmp_path):
    shards = [job / f"shard-{k}" for k in range(1, SHARDS + 1)]
    for shard in [*shards, *shards, shards[0]]:
        done = ser("merge", tmp_path / "out", shard)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 recordings added, 0 replaced")
    before = os.readlink(tmp_path / "out" / "current")
    merge_results(tmp_path / "out", [*shards, shards[1]])
    assert os.readlink(tmp_path / "out" / "current") == before
    merged, expected = tables(tmp_path / "out"), tables(job / "whole")
    # Which of several copies keeps its rows depends on which came first.
    assert set(merged["recordings"].location) == set(expected["recordings"].location)


def test_the_next_run_goes_on_with_what_was_merged(job, tmp_path, tiny_bundle):
    shards = [job / f"shard-{k}" for k in range(1, SHARDS + 1)]
    merge_results(tmp_path / "out", shards)
    done = ser(
        "analyze", job / "calls", "--bundle", tiny_bundle, "--out", tmp_path / "out"
    )
    assert "0 done, 5 already analysed" in done.stdout
    assert "6 copies" in done.stdout
    assert ser("report", tmp_path / "out").returncode == 0


def test_later_rows_of_a_recording_replace_earlier_ones(tmp_path):
    other = call("b.wav", scored=[(0, 1, {})])
    other.recording["content_hash"] = "y"
    old = call("a.wav", scored=[(0, 2, {"angry": 0.9})])
    new = call("a.wav", scored=[(0, 3, {"angry": 0.1})])
    for rows, day in ((old, 1), (new, 2)):
        rows.recording["analyzed_at"] = pd.Timestamp(f"2026-01-0{day}", tz="UTC")
    out = write_results(tmp_path / "out", old, other)
    shard = write_results(tmp_path / "shard", new)
    assert merge_results(out, [shard]) == Merged(replaced=1, unchanged=1)
    rows = open_results(out).segments()
    assert rows[rows.path == "a.wav"].end_s.tolist() == [3]
    assert len(rows) == 2
    # What is older than the rows that are there changes nothing.
    older = write_results(tmp_path / "older", old)
    assert merge_results(out, [older]) == Merged(unchanged=2)


def dated(rows, day: int, content: str):
    rows.recording["analyzed_at"] = pd.Timestamp(f"2026-01-{day:02}", tz="UTC")
    rows.recording["content_hash"] = content
    return rows


def test_a_copy_of_what_has_changed_gets_rows_of_its_own_again(tmp_path):
    out = tmp_path / "out"
    a = dated(call("a.wav", scored=[(0, 2, {"angry": 0.9})]), 1, "x")
    b = dated(call("b.wav", scored=[(0, 2, {"angry": 0.9})]), 1, "x")
    shards = [write_results(tmp_path / "1", a), write_results(tmp_path / "2", b)]
    assert merge_results(out, shards).copies == 1
    changed = dated(call("a.wav", scored=[(0, 3, {"happy": 0.9})]), 2, "y")
    shards[0] = write_results(tmp_path / "3", changed)
    for _ in range(2):
        merge_results(out, shards)
        recordings = open_results(out).recordings().set_index("path")
        assert recordings.status.to_dict() == {"a.wav": "done", "b.wav": "done"}
        ends = open_results(out).segments().set_index("path").end_s
        assert ends.to_dict() == {"a.wav": 3, "b.wav": 2}
        assert verify(out).sound


def test_a_copy_without_an_original_is_left_to_the_next_run(tmp_path):
    out = tmp_path / "out"
    a = dated(call("a.wav", scored=[(0, 2, {})]), 1, "x")
    b = dated(call("b.wav"), 1, "x")
    copy = Rows(
        b.recording
        | {"status": "duplicate", "duplicate_of": a.recording["recording_id"]},
        {},
        {},
    )
    first = write_results(tmp_path / "1", a, copy)
    assert merge_results(out, [first]).copies == 1
    changed = dated(call("a.wav", scored=[(0, 3, {})]), 2, "y")
    merged = merge_results(out, [write_results(tmp_path / "2", changed)])
    assert (merged.replaced, merged.left) == (1, 1)
    assert open_results(out).recordings().path.tolist() == ["a.wav"]


def test_a_copy_of_a_failed_recording_keeps_its_row(tmp_path):
    failed = dated(call("a.wav", error="broken"), 1, "x")
    copy = Rows(
        dated(call("b.wav"), 1, "x").recording
        | {"status": "duplicate", "duplicate_of": failed.recording["recording_id"]},
        {},
        {},
    )
    shard = write_results(tmp_path / "1", failed, copy)
    assert merge_results(tmp_path / "out", [shard]).left == 0
    rows = open_results(tmp_path / "out").recordings().set_index("path")
    assert rows.status.to_dict() == {"a.wav": "failed", "b.wav": "duplicate"}


def test_recordings_of_two_inputs_with_one_path_keep_rows_of_their_own(tmp_path):
    mondays = call("a.wav", scored=[(0, 2, {})], input_root="/monday")
    tuesdays = call("a.wav", scored=[(0, 3, {})], input_root="/tuesday")
    tuesdays.recording["content_hash"] = "y"
    shards = [
        write_results(tmp_path / "one", mondays),
        write_results(tmp_path / "two", tuesdays),
    ]
    merge_results(tmp_path / "out", shards)
    rows, recordings = (
        open_results(tmp_path / "out").segments(),
        open_results(tmp_path / "out").recordings(),
    )
    assert recordings.recording_id.nunique() == 2
    ends = rows.set_index("recording_id").end_s
    roots = recordings.set_index("input_root").recording_id
    assert ends[roots["/monday"]] == 2
    assert ends[roots["/tuesday"]] == 3


def test_results_that_cannot_be_mixed_are_refused_and_nothing_changes(tmp_path):
    one = write_results(tmp_path / "one", call("a.wav", scored=[(0, 1, {})]))
    for what, other in (
        ("model", replace(IDENTITY, model_id="other@1")),
        ("options", replace(IDENTITY, config_hash="d")),
        ("profile", replace(IDENTITY, profile_id="p")),
    ):
        two = write_results(
            tmp_path / what, call("b.wav", scored=[(0, 1, {})]), identity=other
        )
        with pytest.raises(ResultsError, match=f"made with {what}"):
            merge_results(tmp_path / "out", [one, two])
        assert not (tmp_path / "out").exists()
    with pytest.raises(ResultsError, match="into itself"):
        merge_results(one, [one])
    with pytest.raises(ResultsError, match="contains no results"):
        merge_results(tmp_path / "out", [tmp_path / "nothing"])


def test_a_failed_merge_leaves_what_was_live(tmp_path, monkeypatch):
    out = write_results(tmp_path / "out", call("a.wav", scored=[(0, 1, {})]))
    shard = write_results(tmp_path / "shard", call("b.wav", scored=[(0, 1, {})]))
    before = tables(out)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ser_batch.results.live_parts.pq.write_table", full)
        with pytest.raises(ResultsError, match="free up disk space"):
            merge_results(out, [shard])
    for name, rows in tables(out).items():
        pd.testing.assert_frame_equal(rows, before[name])
    assert merge_results(out, [shard]).added == 1


@given(
    st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=40),
    st.integers(1, 20),
)
def test_each_recording_is_in_exactly_one_shard(paths, n):
    for path in paths:
        shards = [
            number
            for number in range(1, n + 1)
            if in_shard(Recording("/in", path), number, n)
        ]
        assert len(shards) == 1
        # Wherever the input is mounted.
        assert in_shard(Recording("/elsewhere", path), shards[0], n)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/3/5", "-1/3", "1/0"])
def test_a_shard_that_is_none_is_refused(tmp_path, shard, tiny_bundle):
    done = ser(
        "analyze", EXAMPLES, "--bundle", tiny_bundle, "--out", tmp_path / "out",
        "--shard", shard,
    )  # fmt: skip
    assert done.returncode == 2
    assert "K/N" in done.stderr


def test_shards_of_a_model_that_uses_profiles_need_one_for_all(
    tmp_path, profiled_bundle
):
    common = ("analyze", EXAMPLES, "--bundle", profiled_bundle, "--shard", "1/2")
    alone = ser(*common, "--out", tmp_path / "out")
    assert alone.returncode == 2
    assert "ser profile make" in alone.stderr
    profile = tmp_path / "centre.json"
    made = ser(
        "profile", "make", EXAMPLES, "--bundle", profiled_bundle, "--out", profile
    )
    assert made.returncode == 0, made.stderr
    for k in (1, 2):
        done = ser(
            "analyze", EXAMPLES, "--bundle", profiled_bundle, "--shard", f"{k}/2",
            "--profile", profile, "--out", tmp_path / str(k),
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stderr
    merge_results(tmp_path / "out", [tmp_path / "1", tmp_path / "2"])
    out = tmp_path / "out"
    again = ser("analyze", EXAMPLES, "--bundle", profiled_bundle, "--out", out)
    assert "5 already analysed" in again.stdout
    # The profile has come along, and a new one can be drawn for all.
    shutil.copyfile(EXAMPLES / "delivery" / "2001.ogg", tmp_path / "new.ogg")
    backdate(tmp_path / "new.ogg")
    new = ser(
        "analyze", tmp_path / "new.ogg", "--bundle", profiled_bundle, "--out", out
    )
    assert new.returncode == 0, new.stderr
    refreshed = ser("profile", "refresh", out)
    assert refreshed.returncode in (0, 3), refreshed.stderr

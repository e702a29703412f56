"""Each call is counted once, even if its files are moved, copied or changed."""

import json
import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.engine.progress import Progress
from ser_batch.engine.this_process import ThisProcess
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.pipeline import run
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results, read_stably
from ser_batch.sources.source import Recording, with_ids
from tests.support.commands import ser
from tests.support.recordings import backdate, write_call

RATE = 8000


def tone(path: Path, number: int, n: int = 800) -> Path:
    """Write a short file with content given by its number, of constant size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(n, number / 100), RATE)
    then = path.stat().st_mtime - 60
    os.utime(path, (then, then))
    return path


@pytest.fixture
def analysed(tmp_path, tiny_bundle):
    """Analyse folders into one results directory, and return the counts of the run."""
    own = {"device": "cpu", "log_file": str(tmp_path / "ser.jsonl")}
    options = Config.from_dict({"score": {"bundle": str(tiny_bundle)}, "run": own})
    scorer = load_scorer(str(tiny_bundle), "cpu")

    def analyse(*inputs: Path, stop_after: int | None = None) -> Progress:
        stop = threading.Event()

        def on_progress(progress: Progress) -> None:
            if stop_after is not None and progress.done >= stop_after:
                stop.set()

        given = [str(path) for path in inputs]
        return run(
            given,
            tmp_path / "out",
            options,
            stop,
            on_progress,
            scorer=scorer,
            engine=ThisProcess(),
        )

    return analyse


def rows(out: Path) -> dict[str, dict]:
    """Return recording rows by location relative to the parent of the results."""
    table = open_results(out).read("recordings").to_pylist()
    found = {os.path.relpath(row["location"], out.parent): row for row in table}
    assert len(found) == len(table)
    return found


def test_analysing_a_parent_folder_finds_the_same_recordings(tmp_path, analysed):
    for number, name in enumerate(("a/1.wav", "a/2.wav", "b/3.wav")):
        tone(tmp_path / "in" / name, number)
    analysed(tmp_path / "in" / "a")
    before = rows(tmp_path / "out")
    progress = analysed(tmp_path / "in")
    assert (progress.done, progress.skipped) == (1, 2)
    after = rows(tmp_path / "out")
    assert len(after) == 3
    assert {name: row["recording_id"] for name, row in before.items()}.items() <= {
        name: row["recording_id"] for name, row in after.items()
    }.items()
    assert after["in/a/1.wav"]["path"] == "1.wav"


def test_another_call_with_the_same_name_gets_its_own_rows(tmp_path, analysed):
    tone(tmp_path / "d1" / "0001.wav", 1)
    analysed(tmp_path / "d1")
    shutil.rmtree(tmp_path / "d1")
    tone(tmp_path / "d2" / "0001.wav", 2)
    analysed(tmp_path / "d2")
    found = rows(tmp_path / "out")
    assert set(found) == {"d1/0001.wav", "d2/0001.wav"}
    assert len({row["recording_id"] for row in found.values()}) == 2
    # This also holds for a link that points to another folder every day.
    (tmp_path / "today").symlink_to(tmp_path / "d2")
    analysed(tmp_path / "today")
    tone(tmp_path / "d3" / "0001.wav", 3)
    (tmp_path / "today").unlink()
    (tmp_path / "today").symlink_to(tmp_path / "d3")
    analysed(tmp_path / "today")
    assert set(rows(tmp_path / "out")) == {"d1/0001.wav", "d2/0001.wav", "d3/0001.wav"}


def test_a_moved_file_keeps_its_id_and_rows(tmp_path, call, analysed):
    write_call(tmp_path / "in" / "x.wav", call)
    backdate(tmp_path / "in")
    analysed(tmp_path / "in")
    (before,) = rows(tmp_path / "out").values()
    (tmp_path / "in" / "done").mkdir()
    (tmp_path / "in" / "x.wav").rename(tmp_path / "in" / "done" / "y.wav")
    progress = analysed(tmp_path / "in")
    assert (progress.done, progress.moved, progress.skipped) == (0, 1, 1)
    (after,) = rows(tmp_path / "out").values()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"path", "location"}
    assert after["path"] == "done/y.wav"
    segments = open_results(tmp_path / "out").read("segments")
    assert set(segments["path"].to_pylist()) == {"done/y.wav"}
    assert len(segments) == after["segments"] > 0
    assert verify(tmp_path / "out").sound


def test_a_tree_on_another_mount_keeps_its_ids(tmp_path, analysed):
    for number in range(4):
        tone(tmp_path / "old" / f"{number}.wav", number)
    analysed(tmp_path / "old")
    before = {row["recording_id"] for row in rows(tmp_path / "out").values()}
    (tmp_path / "old").rename(tmp_path / "new")
    progress = analysed(tmp_path / "new")
    assert (progress.done, progress.moved) == (0, 4)
    after = rows(tmp_path / "out")
    assert {row["recording_id"] for row in after.values()} == before
    assert all(name.startswith("new/") for name in after)


def test_a_copy_of_an_unreachable_original_is_a_duplicate(tmp_path, analysed):
    tone(tmp_path / "disk" / "calls" / "1.wav", 1)
    analysed(tmp_path / "disk" / "calls")
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    tone(tmp_path / "in" / "other-name.wav", 1)
    progress = analysed(tmp_path / "in")
    assert (progress.done, progress.moved, progress.copies) == (0, 0, 1)
    found = rows(tmp_path / "out")
    assert (
        found["in/other-name.wav"]["duplicate_of"]
        == found["disk/calls/1.wav"]["recording_id"]
    )


def test_the_log_has_a_line_for_every_move_and_copy(tmp_path, analysed):
    tone(tmp_path / "old" / "1.wav", 1)
    tone(tmp_path / "old" / "2.wav", 1)
    analysed(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    analysed(tmp_path / "new")
    lines = [
        json.loads(line) for line in (tmp_path / "ser.jsonl").read_text().splitlines()
    ]
    first, second = (
        [line for line in lines if line["event"] == event]
        for event in ("copy", "moved")
    )
    original = rows(tmp_path / "out")["new/1.wav"]["recording_id"]
    assert (first[0]["path"], first[0]["duplicate_of"]) == ("2.wav", original)
    assert second[0]["recording_id"] == original
    assert second[0]["location"].endswith("new/1.wav")


def test_only_the_first_of_identical_files_is_analysed(tmp_path, analysed):
    for name in ("c/1.wav", "a/2.wav", "b/3.wav"):
        tone(tmp_path / "in" / name, 1)
    progress = analysed(tmp_path / "in")
    assert (progress.found, progress.done, progress.copies) == (3, 1, 2)
    found = rows(tmp_path / "out")
    original = found["in/a/2.wav"]
    assert original["status"] == "done"
    for name in ("in/b/3.wav", "in/c/1.wav"):
        assert found[name]["status"] == "duplicate"
        assert found[name]["duplicate_of"] == original["recording_id"]
    again = analysed(tmp_path / "in")
    assert (again.done, again.skipped, again.copies) == (0, 1, 2)
    # An original remains the original, even if a copy sorts before it.
    tone(tmp_path / "in" / "a" / "1.wav", 1)
    assert analysed(tmp_path / "in").copies == 3
    assert rows(tmp_path / "out")["in/a/2.wav"]["status"] == "done"
    assert verify(tmp_path / "out").sound


def test_a_copy_replaces_a_deleted_original(tmp_path, analysed):
    for name in ("1.wav", "2.wav", "3.wav"):
        tone(tmp_path / "in" / name, 1)
    analysed(tmp_path / "in")
    before = rows(tmp_path / "out")["in/1.wav"]
    (tmp_path / "in" / "1.wav").unlink()
    progress = analysed(tmp_path / "in")
    assert (progress.found, progress.done, progress.skipped, progress.copies) == (
        2,
        0,
        1,
        1,
    )
    after = rows(tmp_path / "out")
    assert set(after) == {"in/2.wav", "in/3.wav"}
    assert after["in/2.wav"]["recording_id"] == before["recording_id"]
    assert after["in/2.wav"]["status"] == "done"
    assert after["in/3.wav"]["duplicate_of"] == before["recording_id"]


def test_copies_of_a_changed_original_are_analysed_once(tmp_path, analysed):
    for name in ("1.wav", "2.wav", "3.wav"):
        tone(tmp_path / "in" / name, 1)
    analysed(tmp_path / "in")
    tone(tmp_path / "in" / "1.wav", 2)
    os.utime(tmp_path / "in" / "1.wav", (1, 1))
    progress = analysed(tmp_path / "in")
    assert (progress.done, progress.copies) == (2, 1)
    found = rows(tmp_path / "out")
    assert [found[f"in/{i}.wav"]["status"] for i in (1, 2, 3)] == [
        "done",
        "done",
        "duplicate",
    ]
    assert found["in/3.wav"]["duplicate_of"] == found["in/2.wav"]["recording_id"]
    assert found["in/1.wav"]["content_hash"] != found["in/2.wav"]["content_hash"]


def test_a_changed_copy_becomes_a_separate_recording(tmp_path, analysed):
    for name in ("1.wav", "2.wav"):
        tone(tmp_path / "in" / name, 1)
    analysed(tmp_path / "in")
    before = rows(tmp_path / "out")["in/2.wav"]
    tone(tmp_path / "in" / "2.wav", 2)
    os.utime(tmp_path / "in" / "2.wav", (1, 1))
    assert analysed(tmp_path / "in").done == 1
    after = rows(tmp_path / "out")["in/2.wav"]
    assert (after["status"], after["duplicate_of"]) == ("done", None)
    assert after["recording_id"] == before["recording_id"]


def test_the_same_content_in_two_raw_formats_is_two_recordings(tmp_path, analysed):
    folder = tmp_path / "in"
    folder.mkdir()
    samples = np.random.default_rng(0).bytes(16000)
    for name in ("1.ul", "2.al", "3.ul"):
        (folder / name).write_bytes(samples)
    backdate(folder)
    progress = analysed(folder)
    assert (progress.done, progress.copies) == (2, 1)
    found = rows(tmp_path / "out")
    assert found["in/3.ul"]["duplicate_of"] == found["in/1.ul"]["recording_id"]


def test_empty_files_are_never_duplicates_of_each_other(tmp_path, analysed):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1.wav", "2.wav"):
        (folder / name).write_bytes(b"")
    backdate(folder)
    progress = analysed(folder)
    assert (progress.failed, progress.copies) == (2, 0)


def test_a_file_with_only_a_new_time_is_hashed_once(tmp_path, analysed, monkeypatch):
    tone(tmp_path / "in" / "1.wav", 1)
    analysed(tmp_path / "in")
    os.utime(tmp_path / "in" / "1.wav", (1, 1))
    assert analysed(tmp_path / "in").skipped == 1
    (row,) = rows(tmp_path / "out").values()
    assert row["modified_at"].timestamp() == 1
    monkeypatch.setattr("ser_batch.sources.local.LocalSource.content_hash", None)
    assert analysed(tmp_path / "in").skipped == 1


def test_reports_count_a_call_once_and_give_the_number_of_copies(
    tmp_path, call, analysed
):
    for name in ("1.wav", "2.wav"):
        write_call(tmp_path / "in" / name, call)
    backdate(tmp_path / "in")
    analysed(tmp_path / "in")
    report = json.loads(ser("report", tmp_path / "out", "--format", "json").stdout)
    assert report["total"]["recordings"]["value"] == 1
    assert "1 file not counted: same content as another recording" in report["notes"]


def test_ids_without_results_are_unique():
    found = with_ids(
        [Recording("/a", "1.wav"), Recording("/b", "1.wav"), Recording("/c", "2.wav")]
    )
    assert len({recording.recording_id for recording in found}) == 3
    assert found[0].recording_id == Recording("/a", "1.wav").recording_id


NAMES = ("a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav", "c/1.wav")
CHANGES = st.tuples(
    st.sampled_from(["new", "copy", "copy", "move", "remove"]),
    st.sampled_from(NAMES),
    st.integers(0, 4),
    st.sampled_from([None, "", "", "a", "b"]),
    st.booleans(),
)
"""A change, a name, an existing file, the inputs, and if the run is interrupted."""


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGES, min_size=3, max_size=10))
def test_each_call_is_counted_once_after_any_changes(tmp_path, analysed, changes):
    shutil.rmtree(tmp_path, ignore_errors=True)
    folder, content, seen = tmp_path / "in", dict[str, int](), dict[str, int]()
    folder.mkdir(parents=True)
    for number, (what, name, which, part, interrupted) in enumerate(changes):
        there = sorted(content)
        other = there[which % len(there)] if there else ""
        is_free = name not in content and name not in seen
        if is_free and (what == "new" or (what in ("copy", "move") and other)):
            if what == "move":
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / other).rename(folder / name)
            content[name] = (
                content.pop(other)
                if what == "move"
                else content[other]
                if what == "copy"
                else number
            )
            if what != "move":
                tone(folder / name, content[name])
        elif what == "remove" and other:
            (folder / other).unlink()
            del content[other]
        inside = {
            name: n
            for name, n in content.items()
            if part is not None and name.startswith(part)
        }
        if inside:
            if interrupted:
                analysed(folder / (part or ""), stop_after=1)
            analysed(folder / (part or ""))
            seen |= inside
            check_each_is_counted_once(tmp_path / "out", set(seen.values()))


def check_each_is_counted_once(out: Path, contents: set[int]) -> None:
    table = open_results(out).read("recordings").to_pylist()
    counted = Counter(
        row["content_hash"] for row in table if row["status"] != "duplicate"
    )
    assert set(counted.values()) == {1}
    assert len(counted) == len(contents)
    by_id = {row["recording_id"]: row for row in table}
    assert len(by_id) == len(table)
    for row in table:
        if row["status"] == "duplicate":
            assert by_id[row["duplicate_of"]]["content_hash"] == row["content_hash"]


def test_forgetting_a_recording_removes_every_trace_of_it(tmp_path, call, analysed):
    for name in ("jane.wav", "john.wav"):
        write_call(tmp_path / "in" / name, call if name == "jane.wav" else call[::-1])
    shutil.copy(tmp_path / "in" / "jane.wav", tmp_path / "in" / "copy.wav")
    backdate(tmp_path / "in")
    analysed(tmp_path / "in")
    out = tmp_path / "out"
    (tmp_path / "m.csv").write_text(
        "path,queue\njane.wav,billing\ncopy.wav,billing\njohn.wav,delivery\n"
    )
    read_stably(
        out, lambda results: results.keep_metadata(MetadataInputs(tmp_path / "m.csv"))
    )
    assert ser("forget", out).returncode == 2
    listed = ser("forget", out, "--path", "jane.wav", "--dry-run")
    assert [line.split()[1] for line in listed.stdout.splitlines()] == [
        "copy.wav",
        "jane.wav",
    ]
    assert len(rows(out)) == 3
    assert ser("forget", out, "--path", "nobody.wav").returncode == 2
    assert (
        "2 recordings forgotten"
        in ser("forget", out, "--path", tmp_path / "in" / "jane.wav").stdout
    )
    left = open_results(out)
    (kept,) = rows(out).values()
    assert kept["path"] == "john.wav"
    for table in ("speech", "segments"):
        assert set(left.read(table)["recording_id"].to_pylist()) == {
            kept["recording_id"]
        }
    assert left.metadata.recording_id.tolist() == [kept["recording_id"]]
    for file in out.rglob("*"):
        if file.is_file():
            assert b"jane" not in file.read_bytes()
    assert verify(out).sound


def test_recordings_are_forgotten_by_date_and_by_id(tmp_path, analysed):
    for number in range(3):
        os.utime(
            tone(tmp_path / "in" / f"{number}.wav", number),
            (86400 * 365 * number + 86400,) * 2,
        )
    analysed(tmp_path / "in")
    assert (
        "1 recording forgotten"
        in ser("forget", tmp_path / "out", "--before", "1970-06-01").stdout
    )
    assert set(rows(tmp_path / "out")) == {"in/1.wav", "in/2.wav"}
    one = rows(tmp_path / "out")["in/1.wav"]["recording_id"]
    assert (
        "1 recording forgotten" in ser("forget", tmp_path / "out", "--id", one).stdout
    )
    assert set(rows(tmp_path / "out")) == {"in/2.wav"}
    # The files still exist, so that the next run analyses them as new recordings.
    assert analysed(tmp_path / "in").done == 2


def test_recordings_on_a_renamed_mount_are_relocated_without_reading_audio(
    tmp_path, analysed, monkeypatch
):
    for number in range(3):
        tone(tmp_path / "old" / "calls" / f"{number}.wav", number)
    analysed(tmp_path / "old" / "calls")
    before = rows(tmp_path / "out")
    (tmp_path / "old").rename(tmp_path / "new")
    said = ser("relocate", tmp_path / "out", tmp_path / "old", tmp_path / "new")
    assert "3 recordings relocated" in said.stdout
    after = rows(tmp_path / "out")
    assert {row["recording_id"] for row in after.values()} == {
        row["recording_id"] for row in before.values()
    }
    assert after["new/calls/1.wav"]["input_root"] == str(tmp_path / "new" / "calls")
    monkeypatch.setattr("ser_batch.sources.local.LocalSource.content_hash", None)
    assert analysed(tmp_path / "new" / "calls").skipped == 3
    again = ser("relocate", tmp_path / "out", tmp_path / "old", tmp_path / "new")
    assert again.returncode == 2
    assert "contains no recording below" in again.stderr

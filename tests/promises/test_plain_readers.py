"""Readers without ser see one committed state, or get an error."""

import multiprocessing
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ser_batch.results import generations
from ser_batch.results import writing as module
from ser_batch.results.maintenance import compact, verify
from ser_batch.results.manifest import read_manifest
from ser_batch.results.writing import open_writer
from tests.support.commands import ser
from tests.support.rows import IDENTITY, rows

LOUD = (OSError, KeyError, duckdb.Error)
"""Errors that a reader may get.

A KeyError comes from pandas, which returns a frame without columns if every file that
it listed has been removed since.
"""


def with_pandas(folder: Path) -> list[str]:
    return pd.read_parquet(folder)["recording_id"].tolist()


def with_duckdb(folder: Path) -> list[str]:
    with duckdb.connect() as connection:
        query = f"SELECT recording_id FROM '{folder}/*.parquet'"
        return [row[0] for row in connection.execute(query).fetchall()]


def commits(directory: Path, nights: int) -> None:
    """Add four recordings a night, change two earlier ones, and sometimes compact."""
    for night in range(nights):
        with open_writer(directory, IDENTITY) as writer:
            for i in range(4):
                writer.add(rows(f"{night:03}-{i}"))
            if night:
                for i in range(2):
                    writer.add(rows(f"{night - 1:03}-{i}", 2, content="new"))
            writer.commit()
        if night % 5 == 4:
            compact(directory)


@pytest.mark.parametrize("read", [with_pandas, with_duckdb])
def test_a_read_during_commits_is_correct_or_raises_an_error(tmp_path, read):
    commits(tmp_path, 1)
    writer = multiprocessing.get_context("fork").Process(
        target=commits, args=(tmp_path, 40)
    )
    writer.start()
    right = loud = 0
    try:
        while writer.is_alive():
            for table, each in (("recordings", 1), ("segments", 2)):
                try:
                    found = Counter(read(tmp_path / table))
                except LOUD:
                    loud += 1
                    continue
                # A committed state contains whole nights, and all rows of every
                # recording.
                assert set(found.values()) == {each}
                assert len(found) % 4 == 0
                right += 1
    finally:
        writer.terminate()
        writer.join()
    assert right > 3, loud


def test_reading_recordings_before_segments_finds_every_recording(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(generations, "AHEAD_S", 0.3)
    commits(tmp_path, 1)
    writer = multiprocessing.get_context("fork").Process(
        target=commits, args=(tmp_path, 12)
    )
    writer.start()
    seen = set()
    while writer.is_alive():
        try:
            recordings, segments = (
                set(with_pandas(tmp_path / table))
                for table in ("recordings", "segments")
            )
        except LOUD:
            continue
        assert segments <= recordings
        seen.add(len(recordings))
    assert len(seen) > 1


def test_a_half_finished_commit_is_detected_and_rolled_back(tmp_path, monkeypatch):
    commits(tmp_path, 2)

    def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generations.time, "sleep", killed)
    with pytest.raises(KeyboardInterrupt):
        commits(tmp_path, 3)
    monkeypatch.undo()
    assert (
        "recordings is not a link to current/recordings"
        in verify(tmp_path).problems[""]
    )
    commits(tmp_path, 3)
    assert verify(tmp_path).sound


def test_a_resolved_folder_does_not_change_during_commits(tmp_path):
    commits(tmp_path, 2)
    printed = ser("path", tmp_path, "segments").stdout.strip()
    before = with_pandas(Path(printed))
    commits(tmp_path, 6)
    assert with_pandas(Path(printed)) == before
    assert ser("path", tmp_path, "nothing").returncode == 2


def test_old_states_are_removed_after_an_hour_and_two_commits(tmp_path):
    commits(tmp_path, 6)
    there = sorted((tmp_path / ".gen").iterdir())
    assert len(there) > 3
    for folder in there:
        os.utime(folder, (1, 1))
    commits(tmp_path, 7)
    numbers = [int(folder.name) for folder in (tmp_path / ".gen").iterdir()]
    current = read_manifest(tmp_path).generation
    assert {current, current - 1} <= set(numbers)
    assert there[0].name not in {
        folder.name for folder in (tmp_path / ".gen").iterdir()
    }


def test_anything_that_misleads_a_plain_reader_is_reported_by_verify(tmp_path):
    commits(tmp_path, 2)
    assert verify(tmp_path).sound
    part = next((tmp_path / "segments").iterdir())
    stray = shutil.copy(part, part.with_name("part-000099.parquet"))
    assert "does not belong to these results" in verify(tmp_path).problems[""][0]
    Path(stray).unlink()
    (tmp_path / "segments").unlink()
    shutil.copytree(tmp_path / "current" / "segments", tmp_path / "segments")
    assert "segments is not a link" in verify(tmp_path).problems[""][0]


def test_a_missing_link_is_restored_by_the_next_run(tmp_path):
    commits(tmp_path, 2)
    for name in ("recordings", "manifest.json"):
        (tmp_path / name).unlink()
    commits(tmp_path, 3)
    assert verify(tmp_path).sound
    assert len(with_pandas(tmp_path / "recordings")) == 12


@pytest.mark.parametrize(
    "command",
    [("cp", "-a"), ("rsync", "-aH"), ("tar",)],
    ids=lambda command: command[0],
)
def test_a_backup_of_a_directory_in_use_is_a_valid_results_directory(tmp_path, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    out, copy = tmp_path / "out", tmp_path / "copy"
    commits(out, 3)
    if command == ("tar",):
        copy.mkdir()
        packed = subprocess.run(
            ["tar", "-C", out, "-c", "."], capture_output=True, check=True
        )
        subprocess.run(["tar", "-C", copy, "-x"], input=packed.stdout, check=True)
    else:
        subprocess.run([*command, f"{out}/.", copy], check=True)
    assert verify(copy).sound
    assert sorted(with_pandas(copy / "segments")) == sorted(
        with_pandas(out / "segments")
    )
    inodes = [path.stat().st_ino for path in (copy / ".gen").rglob("*.parquet")]
    assert len(set(inodes)) < len(inodes)


def test_rows_are_the_same_without_links(tmp_path, monkeypatch):
    commits(tmp_path / "links", 7)
    monkeypatch.setattr(module, "supports_links", lambda directory: False)
    commits(tmp_path / "folders", 7)
    found = [
        sorted(with_pandas(tmp_path / name / "segments"))
        for name in ("links", "folders")
    ]
    assert found[0] == found[1]
    assert not read_manifest(tmp_path / "folders").generation
    assert {path.suffix for path in (tmp_path / "folders" / "segments").iterdir()} == {
        ".parquet"
    }


def test_support_for_links_is_detected(tmp_path, monkeypatch):
    assert generations.supports_links(tmp_path)
    assert not list(tmp_path.iterdir())

    def refuse(*args, **kwargs) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "symlink", refuse)
    assert not generations.supports_links(tmp_path)
    assert not list(tmp_path.iterdir())

"""Exactly once: after a fault at any operation, the rows are the old or the new."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ser_batch.errors import ResultsError
from ser_batch.results import writing as module
from ser_batch.results.maintenance import compact, repair, verify
from ser_batch.results.manifest import read_manifest
from ser_batch.results.writing import open_writer
from tests.support.faults import (
    Crash,
    Disk,
    Fault,
    FileSystem,
    Operation,
    instants,
    power_cuts,
)
from tests.support.paths import ROOT
from tests.support.rows import IDENTITY, globbed, ids, rows
from tests.support.tables import live_file, tables


def first_night(directory: Path) -> None:
    with open_writer(directory, IDENTITY) as writer:
        for name in "abc":
            writer.add(rows(name))
        writer.commit()
        writer.write_record({"night": 1})


def second_night(directory: Path) -> None:
    """Write two changed and two new recordings, except those already written."""
    with open_writer(directory, IDENTITY) as writer:
        for name in "bcde":
            if name not in writer.known or writer.known[name].content_hash == "x":
                writer.add(rows(name, 1, content="new"))
        writer.commit()
        writer.write_record({"night": 2})


ACTS = {"a commit": second_night, "compacting": compact}


@pytest.fixture(params=["links", "no links"])
def old(tmp_path, monkeypatch, request) -> Path:
    """Return the first night's results: two parts, which a later commit may merge."""
    if request.param == "no links":
        monkeypatch.setattr(module, "supports_links", lambda directory: False)
    with monkeypatch.context() as patch:
        patch.setattr(module, "PART_RECORDINGS", 2)
        first_night(tmp_path / "old")
    monkeypatch.setattr(module, "PART_RECORDINGS", 8)
    return tmp_path / "old"


def operations(
    monkeypatch, directory: Path, act: Callable[[Path], object]
) -> list[Operation]:
    """Return the file system operations of an undisturbed act."""
    with monkeypatch.context() as patch:
        system = FileSystem(patch)
        act(directory)
    return system.log


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_fault_at_any_operation_leaves_the_old_or_the_new_rows(
    tmp_path, monkeypatch, old, act, fault
):
    undisturbed = shutil.copytree(old, tmp_path / "undisturbed", symlinks=True)
    log = operations(monkeypatch, undisturbed, act)
    before, after = tables(old), tables(undisturbed)
    assert {"open", "write", "flush", "fsync", "replace", "unlink"} <= {
        operation.name for operation in log
    }
    for at in instants(log, fault):
        directory = shutil.copytree(old, tmp_path / str(at), symlinks=True)
        with monkeypatch.context() as patch:
            FileSystem(patch, at, fault)
            said = None
            try:
                act(directory)
            except (Crash, ResultsError) as error:
                said = error
        assert tables(directory) in ((before, after) if said else (after,)), at
        assert said is None or isinstance(said, Crash) or "cannot be" in str(said)
        # Without links, the remains of a crash mislead plain readers until the next
        # run, and `ser verify` reports it. With links, a kill between two of them may
        # leave `recordings` ahead.
        killed = isinstance(said, Crash)
        misread = {""} if killed or not read_manifest(directory).generation else set()
        assert set(verify(directory).problems) <= misread
        act(directory)
        assert verify(directory).sound
        assert tables(directory) == after
        assert globbed(directory) == ids(directory)


@pytest.mark.slow
def test_a_power_cut_during_a_commit_leaves_the_old_or_the_new_rows(
    tmp_path, monkeypatch, old
):
    undisturbed = shutil.copytree(old, tmp_path / "undisturbed", symlinks=True)
    log = operations(monkeypatch, undisturbed, second_night)
    before, after = tables(old), tables(undisturbed)
    outcomes = set()
    for at in power_cuts(log):
        directory = shutil.copytree(old, tmp_path / str(at), symlinks=True)
        with monkeypatch.context() as patch:
            disk = Disk(directory, patch)
            FileSystem(patch, at, Fault.kill)
            with suppress(Crash):
                second_night(directory)
        cut = disk.after_a_power_cut(tmp_path / f"{at}-cut")
        rows = tables(cut)
        assert rows in (before, after), at
        outcomes.add(rows == after)
        second_night(cut)
        assert tables(cut) == after
        assert globbed(cut) == ids(cut)
    assert outcomes == {False, True}


def test_a_simulated_power_cut_notices_a_file_that_is_overwritten_in_place(
    tmp_path, monkeypatch
):
    def overwrite(directory: Path) -> None:
        with (directory / "x.json").open("wb") as file:
            file.write(b"new")
            file.flush()
            os.fsync(file.fileno())

    for name in ("undisturbed", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_bytes(b"old")
    log = operations(monkeypatch, tmp_path / "undisturbed", overwrite)
    found = []
    for at in power_cuts(log):
        directory = shutil.copytree(tmp_path / "old", tmp_path / str(at))
        with monkeypatch.context() as patch:
            disk = Disk(directory, patch)
            FileSystem(patch, at, Fault.kill)
            with suppress(Crash):
                overwrite(directory)
        cut = disk.after_a_power_cut(tmp_path / f"{at}-cut")
        found.append((cut / "x.json").read_bytes())
    assert found == [b"old", b"", b"new"]


@pytest.mark.slow
def test_runs_killed_at_random_end_with_the_rows_of_an_undisturbed_run(
    tmp_path, tiny_bundle
):
    # A small sample of what `python tests/attacks/kill.py` does.
    command = [
        sys.executable,
        ROOT / "tests" / "attacks" / "kill.py",
        "--repeats",
        1,
        "--kills",
        4,
        "--seed",
        5,
        "--bundle",
        tiny_bundle,
    ]
    done = subprocess.run(
        [*map(str, command), "--keep", str(tmp_path / "finds")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills" in done.stdout
    assert not (tmp_path / "finds").exists()


def test_a_first_run_killed_at_any_operation_can_be_resumed(tmp_path, monkeypatch):
    log = operations(monkeypatch, tmp_path / "undisturbed", first_night)
    for at in instants(log, Fault.kill):
        directory = tmp_path / str(at)
        with monkeypatch.context() as patch:
            FileSystem(patch, at, Fault.kill)
            with pytest.raises(Crash):
                first_night(directory)
        first_night(directory)
        assert tables(directory) == tables(tmp_path / "undisturbed")


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_during_a_repair_loses_no_file(tmp_path, monkeypatch, old, fault):
    def damaged(directory: Path) -> tuple[Path, str, bytes]:
        shutil.copytree(old, directory, symlinks=True)
        part = next(iter(read_manifest(directory).parts))
        live_file(directory, "segments", part).write_bytes(b"rubbish")
        return directory, part, live_file(directory, "speech", part).read_bytes()

    log = operations(monkeypatch, damaged(tmp_path / "undisturbed")[0], repair)
    for at in instants(log, fault):
        directory, part, sound = damaged(tmp_path / str(at))
        with monkeypatch.context() as patch:
            FileSystem(patch, at, fault)
            with suppress(Crash, ResultsError):
                repair(directory)
        with open_writer(directory, IDENTITY, read=False):
            pass  # the first step of every run
        aside = directory / "broken" / "speech" / f"{part}.parquet"
        live = read_manifest(directory).file(directory, "speech", part)
        assert any(
            path.exists() and path.read_bytes() == sound for path in (live, aside)
        )
        repair(directory)
        assert aside.read_bytes() == sound
        assert verify(directory).sound

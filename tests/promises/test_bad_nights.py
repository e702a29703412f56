"""Failures of the machine: a share drops out, a disk fills up, a terminal closes."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ser_batch.config.options import Config
from ser_batch.engine import this_process
from ser_batch.engine.engine import TICK
from ser_batch.errors import ResultsError, UsageError
from ser_batch.pipeline import run
from ser_batch.reporting.export.exporting import export_results
from ser_batch.results import live_parts
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results
from ser_batch.sources.search import find_recordings
from ser_batch.speech.decoding import decode
from ser_batch.speech.silero import SileroVad
from tests.support.commands import command_line, ser
from tests.support.equality import differences
from tests.support.paths import ENVIRONMENT
from tests.support.recordings import backdate, write_call
from tests.support.tables import read_table, tables


@pytest.fixture
def settings(tiny_bundle) -> Config:
    return Config.from_dict(
        {"score": {"bundle": str(tiny_bundle)}, "run": {"device": "cpu"}}
    )


def analysed(folder: Path, out: Path, settings: Config):
    return run([str(folder)], out, settings, threading.Event())


def test_recordings_on_a_share_that_dropped_out_are_analysed_by_the_next_run(
    calls, tmp_path, settings, monkeypatch
):
    away = tmp_path / "away"
    for i in range(12):
        # Different lengths, because duplicates would not be analysed.
        (calls / f"{i}.wav").write_bytes(
            (calls / "billing" / "1001.wav").read_bytes() + bytes(i + 1)
        )
    backdate(calls)

    def drop_out(*work):
        outcome = decode(*work)
        if calls.exists():
            calls.rename(away)
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(this_process, "decode", drop_out)
        first = analysed(calls, tmp_path / "out", settings)
    assert first.failed > 1
    away.rename(calls)
    analysed(calls, tmp_path / "out", settings)  # no --retry-failed
    analysed(calls, tmp_path / "undisturbed", settings)
    assert list(differences(tmp_path / "undisturbed", tmp_path / "out")) == []


def test_an_empty_mount_point_is_reported_as_a_failure(calls, tmp_path, tiny_bundle):
    (tmp_path / "empty").mkdir()
    options = ("--bundle", tiny_bundle, "--quiet", "--out", tmp_path / "out")
    # At first, an empty folder is not a failure.
    assert ser("analyze", tmp_path / "empty", *options).returncode == 0
    ser("analyze", calls, *options)
    done = ser("analyze", tmp_path / "empty", *options)
    assert done.returncode == 3
    assert "contains 5: is it mounted?" in done.stderr
    assert len(read_table(tmp_path / "out", "recordings")) == 5


def test_rows_are_committed_even_if_waveforms_filled_the_disk(
    calls, tmp_path, settings, monkeypatch
):
    real = live_parts.pq.write_table

    def full(table, file, **options):
        if (tmp_path / "out" / ".work").exists():
            raise OSError(28, "No space left on device")
        real(table, file, **options)

    class FullDisk:
        def decode(self, tasks, job, stop):
            for task in tasks[:3]:
                yield decode(task, job, SileroVad())
                yield TICK
            raise UsageError("the working directory is full; make room")

    monkeypatch.setattr(live_parts.pq, "write_table", full)
    with pytest.raises(UsageError, match="working directory is full"):
        run(
            [str(calls)],
            tmp_path / "out",
            settings,
            threading.Event(),
            engine=FullDisk(),
        )
    assert len(read_table(tmp_path / "out", "recordings")) == 3


def test_a_link_that_moves_duplicates_no_recording(tmp_path, call, settings):
    for day in ("2026-11-01", "2026-11-02"):
        write_call(tmp_path / "in" / day / f"{day}.wav", call[:, : 8000 * 3])
    for day in ("2026-11-01", "2026-11-02"):
        link = tmp_path / "in" / "a-latest"  # listed first
        link.unlink(missing_ok=True)
        link.symlink_to(day)
        assert [r.path for r in find_recordings([str(tmp_path / "in")]).recordings] == [
            "2026-11-01/2026-11-01.wav", "2026-11-02/2026-11-02.wav",
        ]  # fmt: skip
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    assert len(find_recordings([str(tmp_path / "linked")]).recordings) == 2
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").symlink_to(
        tmp_path / "in" / "2026-11-01" / "2026-11-01.wav"
    )
    assert [
        r.path for r in find_recordings([str(tmp_path / "elsewhere")]).recordings
    ] == ["x.wav"]


def test_a_flipped_bit_never_reaches_a_report(calls, tmp_path, settings):
    out = tmp_path / "out"
    analysed(calls, out, settings)
    for table in ("recordings", "speech", "segments"):
        [part] = (out / table).iterdir()
        whole = part.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 12)):
            part.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            assert not verify(out).sound
            with pytest.raises(
                ResultsError, match="is damaged .its checksum differs.*--repair"
            ):
                export_results(open_results(out), "csv", tmp_path / "csv")
        part.write_bytes(whole)
    assert verify(out).sound
    manifest = json.loads((out / "manifest.json").read_text())
    for part in manifest["parts"].values():
        del part["crc32"]  # as in manifests of earlier versions
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert verify(out).sound
    export_results(open_results(out), "csv", tmp_path / "csv")


def test_unreadable_parts_are_not_treated_as_damaged(
    calls, tmp_path, settings, monkeypatch
):
    analysed(calls, tmp_path / "out", settings)

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("ser_batch.results.maintenance.pq.ParquetFile", forbidden)
        with pytest.raises(ResultsError, match="permission denied"):
            verify(tmp_path / "out")
    assert verify(tmp_path / "out").sound


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2)], ids=str)
def test_a_run_with_closed_standard_streams_analyses_all_recordings(
    calls, tmp_path, tiny_bundle, closed
):
    arguments = command_line(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    )
    closing = "import os, sys\n" + "".join(f"os.close({number})\n" for number in closed)
    command = [
        sys.executable,
        "-c",
        f"{closing}os.execv(sys.argv[1], sys.argv[1:])",
        *map(str, arguments),
    ]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=120).returncode == 3
    assert len(read_table(tmp_path / "out", "recordings")) == 5


@pytest.mark.slow
def test_a_log_overwrites_neither_recordings_nor_results(calls, tmp_path, tiny_bundle):
    out = tmp_path / "out"
    ser(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        out,
        "--quiet",
        "--log-file",
        out / "ser.log",
    )
    before = tables(out)
    os.mkfifo(tmp_path / "pipe")
    recording = calls / "billing" / "1001.wav"
    sound = recording.read_bytes()
    for log, said in (
        (recording, "is not a log"), (out / "manifest.json", "is not a log"),
        (out / "recordings" / "log", "among its rows"),
        (out / ".work" / "log", "among its rows"),
        (tmp_path / "pipe", "is a pipe"),
    ):  # fmt: skip
        done = ser(
            "analyze",
            calls,
            "--bundle",
            tiny_bundle,
            "--out",
            out,
            "--quiet",
            "--log-file",
            log,
        )
        assert done.returncode == 2
        assert said in done.stderr
    assert recording.read_bytes() == sound
    assert tables(out) == before
    assert (
        ser(
            "analyze",
            calls,
            "--bundle",
            tiny_bundle,
            "--out",
            out,
            "--log-file",
            out / "ser.log",
        ).returncode
        == 0
    )


def test_a_working_directory_that_is_a_link_is_not_followed(calls, tmp_path, settings):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x.f32").write_bytes(b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".work").symlink_to(tmp_path / "precious")
    analysed(calls, tmp_path / "out", settings)
    assert (tmp_path / "precious" / "x.f32").exists()
    assert not (tmp_path / "out" / ".work").exists()
    shutil.rmtree(tmp_path / "out")

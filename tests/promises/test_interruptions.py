"""Interrupted runs: signals, killed processes, and files that are still growing."""

import os
import signal
import subprocess
import threading
from contextlib import suppress

import numpy as np
import pytest

from ser_batch.pipeline import run
from tests.support.commands import command_line, ser
from tests.support.recordings import backdate, write_call
from tests.support.runs import analyzed, config
from tests.support.tables import read_table, tables
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_signal_to_the_process_group_fails_no_recording(tmp_path, tiny_bundle, call):
    calls, out = tmp_path / "calls", tmp_path / "out"
    for i in range(12):
        write_call(calls / f"{i:02}.wav", np.tile(np.roll(call, 8000 * i, axis=1), 2))
    command = command_line(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--quiet",
        "--out",
        out,
    )
    with subprocess.Popen(list(map(str, command)), start_new_session=True) as process:
        decoding = (out / ".work").glob
        wait_until(lambda: process.poll() is not None or any(decoding("*/*.f32")))
        os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 130
    assert all(row["status"] == "done" for row in tables(out)["recordings"])
    assert ser(*command[3:]).returncode == 0
    assert len(tables(out)["recordings"]) == 12


@pytest.mark.processes
def test_killing_a_decoding_process_loses_no_recording(
    tmp_path, tiny_bundle, call, monkeypatch
):
    import psutil

    # Look at the run often, to find its processes before they are done.
    monkeypatch.setattr("ser_batch.engine.processes.TICK_S", 0.02)

    calls, out, shot = tmp_path / "calls", tmp_path / "out", []
    for i in range(8):
        write_call(calls / f"{i}.wav", np.roll(call, 8000 * i, axis=1))

    def kill_one_worker(progress) -> None:
        if not shot:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it may have exited already
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
                        shot.append(child.pid)

    progress = run(
        [str(calls)], out, config(tiny_bundle), threading.Event(), kill_one_worker
    )
    assert shot
    assert (progress.done, progress.failed) == (8, 0)
    assert len(tables(out)["recordings"]) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal closed"]
)
def test_an_interrupted_run_commits_finished_recordings_and_can_be_resumed(
    tmp_path, tiny_bundle, call, number
):
    calls, out = tmp_path / "calls", tmp_path / "out"
    for i in range(12):
        write_call(calls / f"{i:02}.wav", np.tile(np.roll(call, 8000 * i, axis=1), 2))
    command = command_line(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        out,
    )
    command = list(map(str, command))
    # As in a terminal, even if the tests run with SIGHUP ignored.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **heeding)
    decoding = (out / ".work").glob
    wait_until(lambda: process.poll() is not None or any(decoding("*/*.f32")))
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in said
    first = len(read_table(out, "recordings"))
    assert first < 12
    second = ser(*command[3:])
    assert second.returncode == 0
    assert f"{first} already analysed" in second.stdout or first == 0
    assert len(read_table(out, "recordings")) == 12


def test_a_file_that_is_still_being_written_gets_no_row_yet(
    tmp_path, tiny_bundle, call
):
    path = write_call(tmp_path / "calls" / "x.wav", call)
    done = threading.Event()

    def recorder():
        with path.open("ab") as file:
            while not done.wait(0.05):
                file.write(bytes(320))
                file.flush()

    thread = threading.Thread(target=recorder)
    thread.start()
    try:
        progress = analyzed([path], tmp_path / "out", config(tiny_bundle))
    finally:
        done.set()
        thread.join()
    assert progress.growing == 1
    assert len(read_table(tmp_path / "out", "recordings")) == 0
    backdate(tmp_path / "calls")
    assert analyzed([path], tmp_path / "out", config(tiny_bundle)).done == 1

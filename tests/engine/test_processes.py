"""Decoding processes: a crash fails one recording at most, and the run continues."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from ser_batch.config.options import Config
from ser_batch.engine.engine import TICK
from ser_batch.engine.processes import LocalProcesses
from ser_batch.engine.worker import Worker
from ser_batch.errors import UsageError
from ser_batch.speech.decoded import Decoded, Failed, Job, Task
from tests.support.commands import command_line, ser
from tests.support.decoding import job_in, tasks_of
from tests.support.paths import ENVIRONMENT, ROOT
from tests.support.recordings import write_call
from tests.support.waiting import wait_until, wait_until_still

PATCHED = """
import os, signal, sys, threading, time
import ser_batch.engine.worker as worker
from ser_batch.errors import FailureKind
from ser_batch.speech.decoded import Failed
from ser_batch.errors import UsageError
from tests.engine.test_processes import outcomes_of
real = worker.decode
def decode(task, *rest):
    kind = task.recording.path.split("-")[0]
    folder = os.path.dirname(task.recording.root)
    first = os.path.join(folder, "tried-" + task.recording.path)
    match kind:
        case "segfault": os.kill(os.getpid(), signal.SIGSEGV)
        case "abort": os.abort()
        case "exit": os._exit(7)
        case "killed": os.kill(os.getpid(), signal.SIGKILL)
        case "once" if not os.path.exists(first):
            open(first, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            open(first, "w").close()
            threading.Event().wait()
        case "memory": raise MemoryError
        case "bug": raise KeyError("what")
        case "odd":
            class Odd(Exception):
                def __init__(self, a, b): super().__init__(a)
            raise Odd(1, 2)
        case "huge":
            reason = "x" * 5_000_000
            damaged = FailureKind.DAMAGED
            return Failed(task.recording, task.stamp, None, damaged, reason)
    return real(task, *rest)
worker.decode = decode
if __name__ == "__main__":
    outcomes_of(sys.argv[1], sys.argv[2])
"""

SAID = {
    "segfault": "decoding crashed (exit code -11)",
    "abort": "decoding crashed (exit code -6)",
    "exit": "decoding crashed (exit code 7)",
    "killed": "killed from outside twice (exit code -9)",
    "hang": "took longer than 5 s",
    "memory": "not enough memory to decode it: use fewer --workers",
    "bug": "unexpectedly; please report it KeyError('what')",
    "odd": "unexpected", "huge": "xxx", "once": "done", "good": "done",
}  # fmt: skip


def limited(work: Path, **run: float) -> Job:
    return job_in(work, Config.from_dict({"run": run}))


def outcomes_of(folder: str, work: str) -> None:
    """Print the outcome of each recording, for the script above."""
    job = limited(Path(work), deadline_s=5.0)
    for outcome in LocalProcesses(3).decode(tasks_of([folder]), job, threading.Event()):
        if outcome is not TICK:
            said = [
                getattr(outcome, "error", "done")[:200],
                getattr(outcome, "detail", ""),
            ]
            print(outcome.recording.path, *said, flush=True)


@pytest.fixture
def folder(tmp_path, call) -> Path:
    for kind in SAID:
        write_call(tmp_path / "in" / f"{kind}-0.wav", call[:, : 8000 * 4])
    return tmp_path / "in"


@pytest.mark.slow
def test_a_recording_that_crashes_its_process_fails_alone(tmp_path, folder):
    script = tmp_path / "patched.py"
    script.write_text(PATCHED)
    done = subprocess.run(
        [sys.executable, script, folder, tmp_path / "work"],
        capture_output=True,
        text=True,
        timeout=200,
        env=ENVIRONMENT,
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(said) == {path.name for path in folder.iterdir()}, done.stderr
    for path, outcome in said.items():
        assert SAID[path.split("-")[0]] in outcome, path


def decoded(
    tasks: list[Task], job: Job, processes: int = 2
) -> Iterator[Decoded | Failed]:
    for outcome in LocalProcesses(processes).decode(tasks, job, threading.Event()):
        if outcome is not TICK:
            assert isinstance(outcome, (Decoded, Failed))
            yield outcome


@pytest.mark.slow
def test_killing_processes_at_any_time_loses_no_recording():
    """In a process of its own, whose children are those to be killed and no others."""
    cases = str(ROOT / "tests" / "engine" / "killing_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "--tb=short", cases],
        cwd=ROOT, capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]


def test_a_consumer_slower_than_the_deadline_fails_no_recording(
    tmp_path, call, monkeypatch
):
    late_s, monotonic = 0.0, time.monotonic
    monkeypatch.setattr(
        "ser_batch.engine.processes.time",
        SimpleNamespace(monotonic=lambda: monotonic() + late_s),
    )
    for i in range(8):
        write_call(tmp_path / "in" / f"{i}.wav", call[:, : 8000 * 4])
    outcomes = []
    tasks = tasks_of([str(tmp_path / "in")])
    for outcome in decoded(tasks, limited(tmp_path / "work", deadline_s=60.0), 3):
        outcomes.append(outcome)
        late_s += 1000 if len(outcomes) in (2, 5) else 0
    assert [type(o) for o in outcomes] == [Decoded] * 8


def test_processes_killed_before_they_start_end_the_run_with_advice(
    tmp_path, call, monkeypatch
):
    write_call(tmp_path / "in" / "x.wav", call[:, : 8000 * 4])
    monkeypatch.setattr(
        Worker,
        "give",
        lambda self, task: (self.tasks.append(task), self.process.kill()),
    )
    with pytest.raises(
        UsageError, match="killed from outside before they start.*use fewer --workers"
    ):
        list(decoded(tasks_of([str(tmp_path / "in")]), limited(tmp_path / "work")))


@pytest.mark.slow
def test_no_process_or_file_handle_is_left_behind(tmp_path, call):
    for i in range(6):
        write_call(tmp_path / "in" / f"{i}.wav", call[:, : 8000 * 4])
    tasks, job, me = (
        tasks_of([str(tmp_path / "in")]),
        limited(tmp_path / "work"),
        psutil.Process(),
    )
    assert len(list(decoded(tasks, job))) == 6
    before, children = me.num_fds(), {child.pid for child in me.children()}
    for _ in range(3):
        assert len(list(decoded(tasks, job))) == 6
        early = decoded(tasks, job)
        next(early)
        early.close()
    assert me.num_fds() <= before
    assert {child.pid for child in me.children()} <= children


def test_decoding_does_not_run_far_ahead_of_a_slow_consumer(tmp_path, call):
    for i in range(12):
        write_call(tmp_path / "in" / f"{i:02}.wav", call[:, : 8000 * 4])
    job = limited(tmp_path / "work")
    ahead = []
    for number, _ in enumerate(decoded(tasks_of([str(tmp_path / "in")]), job), 1):
        # Waveforms are never removed here, so their number is that of decoded
        # recordings.
        n_decoded = wait_until_still(lambda: len(list((tmp_path / "work").iterdir())))
        ahead.append(n_decoded - number)
    assert number == 12
    assert max(ahead) <= 2 * 2


def test_jumps_of_the_system_clock_do_not_trigger_deadlines(
    tmp_path, call, monkeypatch
):
    for i in range(8):
        write_call(tmp_path / "in" / f"{i}.wav", call[:, : 8000 * 4])
    jumps = iter(range(10**9))
    monkeypatch.setattr(
        time, "time", lambda: 1e9 + 1e8 * (-1) ** next(jumps) * next(jumps)
    )
    outcomes = list(
        decoded(
            tasks_of([str(tmp_path / "in")]),
            limited(tmp_path / "work", deadline_s=60.0),
        )
    )
    assert [type(o) for o in outcomes] == [Decoded] * 8


@pytest.mark.slow
def test_a_script_without_a_main_guard_gets_a_hint(tmp_path, call):
    write_call(tmp_path / "in" / "x.wav", call[:, : 8000 * 4])
    script = tmp_path / "script.py"
    script.write_text(
        "import ser_batch\nfrom ser_batch.engine import processes\n"
        "processes.MAX_FAILED_STARTS = 1\n"
        "for analysis in ser_batch.analyze(['in']):\n    print(analysis.path)\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr


@pytest.mark.slow
def test_ctrl_c_while_the_processes_are_starting_shows_no_traceback(
    tmp_path, call, tiny_bundle
):
    for i in range(30):
        write_call(tmp_path / "in" / f"{i}.wav", np.tile(call, 4)[:, i:])
    for after_s in (0.1, 0.6):
        command = command_line(
            "analyze",
            tmp_path / "in",
            "--bundle",
            tiny_bundle,
        )
        command += ["--out", tmp_path / f"out-{after_s}"]
        with subprocess.Popen(
            list(map(str, command)),
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        ) as process:
            record = tmp_path / f"out-{after_s}" / "run.json"
            wait_until(lambda r=record: process.poll() is not None or r.exists())
            with suppress(subprocess.TimeoutExpired):
                process.wait(after_s)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "Traceback" not in said


@pytest.mark.slow
def test_a_second_ctrl_c_exits_immediately_and_the_next_run_finishes(
    tmp_path, call, tiny_bundle
):
    # The first Ctrl-C waits for recordings that hang, longer than the test lasts.
    for i, name in enumerate(("hang-0.wav", "good-0.wav", "good-1.wav")):
        write_call(tmp_path / "in" / name, call[:, i:])
    script, out = tmp_path / "patched.py", tmp_path / "out"
    end = (
        "import ser_batch.engine.processes as processes; processes.GRACE_S = 600.0\n"
        "if __name__ == '__main__':\n    from ser_batch.cli.app import main; main()\n"
    )
    script.write_text(PATCHED[: PATCHED.index("if __name__")] + end)
    command = [
        "analyze",
        tmp_path / "in",
        "--bundle",
        tiny_bundle,
        "--quiet",
        "--workers",
        2,
        "--out",
        out,
    ]
    arguments = list(map(str, command))
    with subprocess.Popen(
        [sys.executable, script, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        hangs = tmp_path / "tried-hang-0.wav"
        wait_until(lambda: process.poll() is not None or hangs.exists())
        os.killpg(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert ser(*arguments).returncode == 0

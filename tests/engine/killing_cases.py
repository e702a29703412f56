"""Decoding processes that are killed from outside, at any time.

Run by `test_processes.py` in a process of their own.
"""

import random
import threading
from contextlib import suppress

import psutil
import pytest

from ser_batch.speech.decoded import Decoded
from tests.engine.test_processes import decoded, limited
from tests.support.decoding import tasks_of
from tests.support.recordings import write_call


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killing_processes_at_any_time_loses_no_recording(tmp_path, call, seed):
    chance, over = random.Random(seed), threading.Event()
    for i in range(40):
        write_call(tmp_path / "in" / f"{i}.wav", call[:, : 8000 * 6])

    def kill_one_worker() -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            children = [
                c
                for c in psutil.Process().children()
                if "spawn_main" in " ".join(c.cmdline())
            ]
            if not over.is_set():
                chance.choice(children).kill()

    # The first kill hits while the processes are starting.
    outcomes, shots = [], [threading.Timer(0.3, kill_one_worker)]
    shots[0].start()
    for outcome in decoded(
        tasks_of([str(tmp_path / "in")]), limited(tmp_path / "work"), 3
    ):
        outcomes.append(outcome)
        if chance.random() < 0.7:
            shots.append(threading.Timer(chance.uniform(0, 0.3), kill_one_worker))
            shots[-1].start()
    over.set()
    for shot in shots:
        shot.join()
    assert sorted(o.recording.path for o in outcomes) == sorted(
        f"{i}.wav" for i in range(40)
    )
    assert all(
        isinstance(o, Decoded) or "killed from outside twice" in o.error
        for o in outcomes
    )
    assert sum(isinstance(o, Decoded) for o in outcomes) > 10

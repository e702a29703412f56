"""Kill `ser analyze` at random instants and check that no row is lost or changed.

    python tests/attacks/kill.py --kills 300 --seed 1 --keep finds/

Each victim is a run of several processes that commits every recording immediately.
SIGKILL hits the main process alone, all processes together, or one decoding process.
After every kill, the live results must be valid and a subset of what an undisturbed run
gives. Often the next run is killed as well. In the end the same command must give
exactly the rows of the undisturbed run, without duplicates, and leave nothing else
behind. Finds are kept, and the exit code is 1.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]
VICTIMS = ("the run", "all processes", "a decoding process")


def analyse(calls: Path, bundle: str, out: Path) -> None:
    """Run one analysis as the leader of a new session.

    It commits each recording immediately.
    """
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    import ser_batch.results.generations
    import ser_batch.results.writing
    from ser_batch.cli.app import main

    ser_batch.results.writing.COMMIT_S = 0
    # With a commit per recording, the pauses for plain readers would take all the time.
    ser_batch.results.generations.AHEAD_S = 0.02
    sys.argv = [
        "ser",
        "analyze",
        str(calls),
        "--bundle",
        bundle,
        "--workers",
        "2",
        "--quiet",
        "--speakers",
        "2",
        "--out",
        str(out),
    ]
    main()


def start(calls: Path, bundle: str, out: Path) -> BaseProcess:
    """Start a run in a fork.

    The libraries are already loaded, so that most of its time is spent on work.
    """
    process = get_context("fork").Process(target=analyse, args=(calls, bundle, out))
    process.start()
    return process


def kill(process: BaseProcess, victim: str, rng: random.Random) -> bool:
    """Kill the victim, and return whether it was running."""
    import psutil

    assert process.pid
    with suppress(ProcessLookupError, psutil.Error):
        if victim == "a decoding process":
            children = [
                c
                for c in psutil.Process(process.pid).children()
                if "spawn_main" in " ".join(c.cmdline())
            ]
            if not children:
                return False
            rng.choice(children).kill()
        elif victim == "all processes" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        return True
    return False


def wrong(whole: Path, out: Path, finished: bool) -> Iterator[str]:
    """Yield the problems found in the live results.

    After a run has finished, the whole directory is checked.
    """
    from ser_batch.results.maintenance import verify
    from tests.support.equality import differences
    from tests.support.tables import read_table

    if not (out / "manifest.json").exists():
        if finished:
            yield "there are no results"
        return
    # Broken links are a problem only after a finished run, which repairs them.
    found = {
        part: own for part, own in verify(out).problems.items() if part or finished
    }
    problems = [f"{part}: {own}" for part, own in found.items()]
    if problems:
        yield from problems
        return
    ids = read_table(out, "recordings")["recording_id"].to_pylist()
    yield from differences(whole, out, None if finished else ids)
    if finished:
        there = {path.name for path in out.iterdir()}
        named = {
            ".gen",
            ".lock",
            "current",
            "manifest.json",
            "run.json",
            "recordings",
            "speech",
            "segments",
        }
        if there != named:
            yield (
                f"unexpected files: {sorted(there - named)}, "
                f"missing files: {sorted(named - there)}"
            )


def kill_repeatedly(
    calls: Path, bundle: str, folder: Path, kills: int, seed: int
) -> Iterator[tuple[str, Path, list[str]]]:
    """Kill runs until `kills` is reached.

    Yields, for each job, what was done to it, its directory and the problems found.
    """
    rng, done = random.Random(seed), 0
    whole = folder / "whole"
    for _ in range(2):  # the second is as fast as later ones
        shutil.rmtree(whole, ignore_errors=True)
        began = time.monotonic()
        process = start(calls, bundle, whole)
        process.join()
        took_s = time.monotonic() - began
        assert process.exitcode in (0, 3), "the undisturbed run failed"
    number = 0
    while done < kills:
        number += 1
        out, story, problems = folder / f"job-{number:04}", [], list[str]()
        finished = False
        while not finished:
            process, victim, at_s = (
                start(calls, bundle, out),
                rng.choice(VICTIMS),
                rng.uniform(0, took_s),
            )
            if done < kills and (not story or rng.random() < 0.5):
                process.join(at_s)
                if process.is_alive() and kill(process, victim, rng):
                    done += 1
                    story.append(f"{victim} after {at_s:.2f} s")
            process.join(120)
            finished = process.exitcode in (0, 3)
            if process.exitcode not in (0, 3, -signal.SIGKILL):
                problems.append(f"ended with {process.exitcode}")
                process.kill()
                break
            problems += wrong(whole, out, finished)
        yield "; ".join(story), out, problems
        if not problems:
            shutil.rmtree(out)


def make_calls(folder: Path, repeats: int) -> Path:
    """Write calls of several formats and lengths, and some damaged ones."""
    import numpy as np
    import soundfile

    from tests.support.recordings import encode

    folder.mkdir()
    call = soundfile.read(ROOT / "examples/calls/billing/1001.wav", dtype="float32")[
        0
    ].T[:, : 12 * 8000]
    for number, name in enumerate(
        (
            "ulaw.wav",
            "pcm16.wav",
            "x.flac",
            "opus.ogg",
            "x.m4a",
            "gsm.wav",
            "x.aiff",
            "x.mp3",
        )
        * repeats
    ):
        waveform = np.roll(call, 5000 * number, axis=1)[:, : 8000 * (4 + number % 8)]
        made = encode(folder / name, waveform[:1] if name == "gsm.wav" else waveform)
        made.rename(folder / f"{number:02}-{name}")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("no call")
    shutil.copy(ROOT / "examples/calls/billing/1003-broken.wav", folder)
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="telephone")
    parser.add_argument(
        "--repeats", type=int, default=2, help="How many calls there are per format."
    )
    parser.add_argument("--keep", type=Path, default=Path("finds"))
    options = parser.parse_args()
    finds, jobs, victims = 0, 0, Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        calls = make_calls(Path(temporary) / "calls", options.repeats)
        for story, out, problems in kill_repeatedly(
            calls, options.bundle, Path(temporary), options.kills, options.seed
        ):
            jobs += 1
            victims.update(
                word.rsplit(" after", 1)[0] for word in story.split("; ") if word
            )
            if problems:
                finds += 1
                shutil.copytree(out, options.keep / out.name)
                print(f"{options.keep / out.name}: {story}: {problems}", flush=True)
            if jobs % 20 == 0:
                print(f"{jobs} jobs, {sum(victims.values())} kills", flush=True)
    print(
        f"{sum(victims.values())} kills in {jobs} jobs, "
        f"seed {options.seed}: {dict(victims)}; {finds} finds"
    )
    sys.exit(bool(finds))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import torch

    import ser_batch.pipeline  # noqa: F401  (loaded once for all runs)

    torch.set_num_threads(1)
    main()

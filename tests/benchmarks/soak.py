"""A long run on recordings of all kinds: memory must stay flat and nothing may leak.

    python tests/benchmarks/soak.py [--minutes 60] [--bundle telephone]
        [--workers N] [--keep soak.csv]

One `ser analyze` over a tree of calls in every format, damaged files, tiny ones, eight
channels, long calls, and some of 24 hours that exceed their deadline, so that their
process is ended and replaced. Every few minutes a decoding process is killed from
outside, as the out-of-memory killer does. When the time is up the run gets SIGTERM.
Prints memory (PSS of all processes), open files, processes and shared memory over the
run, and what is left behind after it. The exit code is 1 if anything is.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.attacks.fuzz import damaged, seeds
from tests.benchmarks.memory import make_recording, tree_pss
from tests.support.recordings import FFMPEG, MONO_ONLY, SOUNDFILE, encode

ROOT = Path(__file__).parents[2]
EVERY_S = 5.0
KILL_EVERY_S = 180.0
DEADLINE_S = 120.0
RECORDINGS = 100_000
WINDOWS = 12
BAR_GROWTH = 1.1


@dataclass(frozen=True)
class Sample:
    """The run at one instant."""

    at_s: float
    pss_mib: float
    main_mib: float
    """PSS of the process that scores and writes."""
    files: int
    """Files open in that process."""
    processes: int
    shared_memory: int
    waveforms_mib: float
    """Size of the waveforms in `.work`."""
    rows: int


def originals(folder: Path) -> tuple[list[Path], list[Path]]:
    """Make the source recordings.

    Returns:
        The usual recordings, good and damaged, and the rare ones: eight channels, an
        hour, a day.
    """
    rng, call = (
        random.Random(0),
        soundfile.read(ROOT / "examples/calls/billing/1001.wav", dtype="float32")[0].T,
    )
    usual, rare = [], []
    for name in (*SOUNDFILE, *FFMPEG):
        for repeats in (1, 4, 12):
            waveform = np.tile(
                np.roll(call, rng.randrange(call.shape[1]), axis=1), repeats
            )
            waveform = waveform[:1] if name in MONO_ONLY else waveform
            made = encode(folder / name, waveform)
            usual.append(made.rename(folder / f"good-{repeats}-{name}"))
    whole = seeds(folder)
    for number in range(400):
        name = rng.choice(list(whole))
        path = folder / f"bad-{number}-{name}"
        path.write_bytes(damaged(whole[name], list(whole.values()), rng))
        usual.append(path)
    for name, content in (
        ("empty", b""),
        ("text", b"no call\n" * 50),
        ("zeros", bytes(4000)),
    ):
        usual.append(folder / f"{name}.wav")
        usual[-1].write_bytes(content)
    soundfile.write(folder / "tiny.wav", call[:, :1].T, 8000)
    soundfile.write(folder / "eight.wav", np.tile(call, (4, 4)).T, 8000)
    make_recording(folder / "hour.wav", 1.0, ROOT / "examples/calls/billing/1001.wav")
    make_recording(
        folder / "day.wav", 24.0, ROOT / "examples/calls/billing/1002-silent.wav"
    )
    usual += [folder / "tiny.wav"] * 40
    rare += (
        [folder / "eight.wav"] * 6 + [folder / "hour.wav"] * 2 + [folder / "day.wav"]
    )
    return usual, rare


def disk(folder: Path, made: Path) -> Path:
    """Fill a folder with hard links to recordings, which take little space."""
    usual, rare = originals(made)
    rng = random.Random(1)
    for number in range(RECORDINGS):
        source = rng.choice(rare if number % 150 == 149 else usual)
        below = folder / f"{number // 1000:03}"
        below.mkdir(parents=True, exist_ok=True)
        os.link(source, below / f"{number:06}-{source.name}")
    for path in made.iterdir():
        os.utime(path, (time.time() - 60,) * 2)
    return folder


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def sample(process: psutil.Process, out: Path, start: float, shm: set[str]) -> Sample:
    rows = size = 0
    with suppress(OSError, ValueError):
        parts = json.loads((out / "manifest.json").read_text())["parts"]
        rows = sum(part["recordings"] for part in parts.values())
    with suppress(OSError):
        for path in (out / ".work").rglob("*.f32"):
            with suppress(OSError):
                size += path.stat().st_size
    return Sample(
        time.monotonic() - start,
        tree_pss(process) / 2**20,
        process.memory_full_info().pss / 2**20,
        process.num_fds(),
        1 + len(process.children(recursive=True)),
        len(shared_memory() - shm),
        size / 2**20,
        rows,
    )


def kill_one_worker(process: psutil.Process) -> int:
    """Kill one decoding process, and return how many were killed."""
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                return 1
    return 0


def show(samples: list[Sample]) -> None:
    print(
        "  minutes    rows       PSS, MiB      main, MiB   files  procs  shm     .work"
    )
    for window in np.array_split(np.arange(len(samples)), min(WINDOWS, len(samples))):
        part = [samples[i] for i in window]

        def column(name: str, of: list[Sample] = part) -> np.ndarray:
            return np.array([getattr(s, name) for s in of])

        print(
            f"{part[0].at_s / 60:4.0f}-{part[-1].at_s / 60:<4.0f} {part[-1].rows:>7} "
            f"{np.median(column('pss_mib')):6.0f} ≤ {column('pss_mib').max():5.0f} "
            f"{np.median(column('main_mib')):6.0f} ≤ {column('main_mib').max():5.0f} "
            f"{column('files').max():>7} {column('processes').max():>6} "
            f"{column('shared_memory').max():>4} "
            f"{column('waveforms_mib').max():>5.0f} MiB"
        )


def watched(
    process: psutil.Popen, out: Path, minutes: float, shm: set[str]
) -> tuple[list[Sample], set[psutil.Process], int]:
    """Watch the run until the time is up.

    Returns:
        The samples, all child processes seen, and how many of them were killed.
    """
    samples: list[Sample] = []
    children: set[psutil.Process] = set()
    kills, start = 0, time.monotonic()
    killed_at = start
    while process.poll() is None and time.monotonic() - start < 60 * minutes:
        time.sleep(EVERY_S)
        with suppress(psutil.Error):
            samples.append(sample(process, out, start, shm))
            children |= set(process.children(recursive=True))
        if time.monotonic() - killed_at >= KILL_EVERY_S:
            killed_at = time.monotonic()
            kills += kill_one_worker(process)
    return samples, children, kills


def growth(samples: list[Sample]) -> float:
    """Return the PSS of the last third over the first, without the first tenth."""
    whole = np.array([s.pss_mib for s in samples if s.at_s > samples[-1].at_s / 10])
    third = max(1, len(whole) // 3)
    return float(np.median(whole[-third:]) / np.median(whole[:third]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--bundle", default="telephone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="write every sample to this CSV file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made, out, log, errors = (
            folder / name for name in ("made", "out", "log", "errors")
        )
        made.mkdir()
        calls, shm = disk(folder / "calls", made), shared_memory()
        command = [
            sys.executable,
            "-m",
            "ser_batch",
            "analyze",
            calls,
            "--out",
            out,
            "--bundle",
            options.bundle,
            "--quiet",
        ]
        command += [
            "--workers",
            options.workers,
            "--log-file",
            log,
            "--set",
            f"run.deadline_s={DEADLINE_S}",
        ]
        with errors.open("w") as stream:
            process = psutil.Popen(
                list(map(str, command)),
                cwd=ROOT,
                stderr=stream,
                env={**os.environ, "TMPDIR": temporary},
            )
            samples, children, kills = watched(process, out, options.minutes, shm)
            asked = time.monotonic()
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            code = process.wait(120)
        show(samples)
        if options.keep:
            with options.keep.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([column.name for column in fields(Sample)])
                writer.writerows(map(astuple, samples))
        reasons = [
            json.loads(line).get("error", "") for line in log.read_text().splitlines()
        ]
        ended, crashed = (
            sum(words in reason for reason in reasons)
            for words in ("longer than", "decoding crashed")
        )
        print(json.loads((out / "run.json").read_text())["counts"])
        print(
            f"{ended} exceeded their deadline, {crashed} crashed their process, "
            f"{kills} processes were killed"
        )
        print(f"SIGTERM: exited after {time.monotonic() - asked:.1f} s with {code}")
        time.sleep(2)
        left = {
            "processes": [child for child in children if child.is_running()],
            "shared memory": shared_memory() - shm,
            "temporary files": {p.name for p in folder.iterdir()}
            - {"made", "calls", "out", "log", "errors"},
            "waveforms": list(out.glob(".work/*")),
            "tracebacks": [
                line for line in errors.read_text().splitlines() if "Traceback" in line
            ],
        }
        print(f"left behind: { {name: len(found) for name, found in left.items()} }")
        verified = subprocess.run(
            [sys.executable, "-m", "ser_batch", "verify", out], cwd=ROOT
        )
        print(
            f"PSS, last third over first: {growth(samples):.2f} (limit: {BAR_GROWTH})"
        )
        sys.exit(
            any(left.values())
            or verified.returncode
            or growth(samples) > BAR_GROWTH
            or code not in (0, 3, 130)
        )


if __name__ == "__main__":
    main()

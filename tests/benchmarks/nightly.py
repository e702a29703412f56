"""Nightly runs with one new recording among very many that are already analysed.

    python tests/benchmarks/nightly.py [--recordings 1000000] [--folder DIR]

Prints wall-clock and CPU seconds and peak memory (PSS of all processes) of the first
run that finds nothing new, and of one that finds one new recording. The reference is
the CPU time of a bare walk over the same files (`os.scandir` and `stat`).
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.results.live_parts import Tables
from ser_batch.results.manifest import Identity
from ser_batch.results.writing import PART_RECORDINGS, open_writer
from ser_batch.sources.source import Stamp
from tests.benchmarks.memory import tree_pss

ROOT = Path(__file__).parents[2]
PER_FOLDER = 2000
NEW = ROOT / "examples" / "calls" / "billing" / "1001.wav"


def make_files(calls: Path, n: int) -> None:
    """Make empty files that look like recordings from last year."""
    then = time.time() - 365 * 86_400
    for number in range(n):
        path = calls / f"{number // PER_FOLDER:04}" / f"call-{number:08}.wav"
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.utime(path, (then, then))


def make_results(calls: Path, out: Path, n: int) -> None:
    """Write a row for each of the files, as if all had been analysed."""
    scorer, config = load_scorer("telephone"), Config()
    identity = Identity(scorer.model_id, config.hash(), scorer.labels)
    with open_writer(out, identity) as writer:
        schemas = writer.parts.schemas

        def parts() -> Iterator[Tables]:
            for first in range(0, n, PART_RECORDINGS):
                numbers = range(first, min(first + PART_RECORDINGS, n))
                rows = [row(calls, number) for number in numbers]
                tables = {
                    name: schema.empty_table() for name, schema in schemas.items()
                }
                recordings = pa.Table.from_pylist(rows, schemas["recordings"])
                yield tables | {"recordings": recordings}

        # In one step: many commits, each with thousands of parts, would take very long.
        writer.parts.replace(set(), parts(), True)


def row(calls: Path, number: int) -> dict[str, object]:
    """Return the row of a recording in which there was nothing to score."""
    name = f"{number // PER_FOLDER:04}/call-{number:08}.wav"
    stamp = Stamp.of(os.stat(calls / name))
    return {
        "recording_id": f"{number:016x}",
        "path": name,
        "input_root": str(calls),
        "location": str(calls / name),
        "size_bytes": stamp.size_bytes,
        "modified_at": stamp.modified_at,
        "content_hash": f"{number:032x}",
        "status": "done",
        "segments": 0,
    }


def measured(calls: Path, out: Path) -> tuple[float, float, float]:
    """Return wall-clock seconds, CPU seconds and peak GiB of a run."""
    command = [sys.executable, "-m", "ser_batch", "analyze", calls, "--out", out]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = psutil.Popen(list(map(str, command)), cwd=ROOT)
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], tree_pss(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    wall_s = time.monotonic() - start
    done.set()
    watcher.join()
    assert code == 0, code
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, peak[0] / 2**30


def bare_walk_s(calls: Path) -> float:
    """Return the CPU seconds of listing all files with their size and time."""
    start = time.process_time()
    waiting = [str(calls)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
    return time.process_time() - start


def main() -> None:
    """Measure the runs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="kept, and reused if it exists")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ser-nightly-"))
    calls, out = folder / "calls", folder / "results"
    if not out.exists():
        make_files(calls, options.recordings)
        make_results(calls, out, options.recordings)
    new = calls / "new.wav"
    print(f"bare walk: {bare_walk_s(calls):.1f} s of CPU time")
    for name in ("nothing new", "one new recording"):
        if name == "one new recording":
            shutil.copyfile(NEW, new)
            # Different content every time, so that the benchmark can be repeated.
            new.write_bytes(new.read_bytes() + os.urandom(64))
            os.utime(new, (time.time() - 60,) * 2)
        wall_s, cpu_s, gib = measured(calls, out)
        print(f"{name}: {wall_s:.1f} s, {cpu_s:.1f} s of CPU time, {gib:.2f} GiB")
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

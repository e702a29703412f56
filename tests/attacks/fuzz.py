"""Feed damaged recordings of every format to batch runs, for as long as you like.

    python tests/attacks/fuzz.py --seconds 600 --seed 1 --keep finds/

Each recording is a few seconds of audio in a supported format that has been cut, had
bytes flipped, numbers made huge or pieces repeated, or has the header of one format on
the body of another. All of them go through complete runs with a small model. A find is
anything that does not end as `done`, or as `failed` with an expected reason: a crashed
process, more than the allowed time or memory, a recording without a row, a run that
ends early. Finds are kept, and the exit code is 1. Every find that was fixed has a
small test in the test suite.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.config.options import Config
from ser_batch.errors import FailureKind
from ser_batch.pipeline import run
from tests.benchmarks.memory import tree_pss
from tests.support.bundles import write_tiny_bundle
from tests.support.recordings import FFMPEG, MONO_ONLY, SOUNDFILE, encode
from tests.support.tables import read_table

DEADLINE_S = 60.0
MEMORY_GIB = 1.5
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def seeds(folder: Path) -> dict[str, bytes]:
    """Encode three seconds of tones and noise in every format."""
    t = np.arange(3 * 8000) / 8000
    noise = np.random.default_rng(0).standard_normal((2, len(t)))
    call = 0.2 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * t) + 0.05 * noise
    made = {}
    for name in (*SOUNDFILE, *FFMPEG):
        waveform = call[:1] if name in MONO_ONLY else call
        made[name] = encode(folder / name, waveform.astype(np.float32)).read_bytes()
    return made


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return the file with one to four kinds of damage."""
    broken = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        n = len(broken)
        if n < 8:
            break
        # Mostly in the header.
        at = rng.randrange(min(n, 200)) if rng.random() < 0.6 else rng.randrange(n)
        match rng.randrange(7):
            case 0:
                del broken[at:]
            case 1:
                for _ in range(rng.randint(1, 16)):
                    broken[min(n - 1, at + rng.randrange(64))] = rng.randrange(256)
            case 2:
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice(EXTREMES) & (256**width - 1)
                broken[at : at + width] = value.to_bytes(
                    width, rng.choice(("little", "big"))
                )
            case 3:
                piece = broken[at : at + rng.randint(1, 4096)]
                broken[at:at] = piece * rng.randint(1, 8)
            case 4:
                del broken[at : at + rng.randint(1, 4096)]
            case 5:
                broken[at:] = rng.choice(others)[at:]
            case 6:
                broken[at : at + 64] = rng.randbytes(64)
    return bytes(broken)


FORESEEN = {
    FailureKind.EMPTY,
    FailureKind.NOT_AUDIO,
    FailureKind.DAMAGED,
    FailureKind.UNSUPPORTED,
}
"""Reasons why a damaged recording may fail; any other is a fault of the program."""


def suspicious(row: dict[str, Any]) -> bool:
    """Return whether a row is neither done nor failed for a foreseen, stated reason."""
    if row["status"] != "failed":
        return False
    return row["error_kind"] not in FORESEEN or not row["error"].strip()


def run_batch(
    folder: Path, out: Path, bundle: Path
) -> tuple[dict[str, dict[str, Any]], float]:
    """Return the rows of one run by path, and its peak memory.

    The memory is in GiB and includes all processes of the run, but not what this one
    had before.
    """
    config = Config.from_dict(
        {
            "score": {"bundle": str(bundle)},
            "run": {"device": "cpu", "workers": 2, "deadline_s": DEADLINE_S},
        }
    )
    peak, done, stop = [0.0], threading.Event(), threading.Event()
    before = tree_pss(psutil.Process()) / 2**30

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], tree_pss(psutil.Process()) / 2**30)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        progress = run([str(folder)], out, config, stop)
    finally:
        done.set()
        watcher.join()
    rows = {row["path"]: row for row in read_table(out, "recordings").to_pylist()}
    assert len(rows) == progress.found == progress.done + progress.failed, (
        progress.counts()
    )
    return rows, max(0.0, peak[0] - before)


def make_batch(
    folder: Path, number: int, whole: dict[str, bytes], rng: random.Random
) -> None:
    """Write `number` damaged recordings, dated one minute ago."""
    folder.mkdir()
    for i in range(number):
        name = rng.choice(list(whole))
        path = folder / f"{i:06}-{name}"
        path.write_bytes(damaged(whole[name], list(whole.values()), rng))
        os.utime(path, (time.time() - 60,) * 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=500, help="recordings in each run")
    parser.add_argument("--keep", type=Path, default=Path("finds"))
    options = parser.parse_args()
    rng, counts, finds, number, most = (
        random.Random(options.seed),
        Counter[str](),
        0,
        0,
        0.0,
    )
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "seeds").mkdir()
        whole = seeds(Path(temporary) / "seeds")
        bundle = write_tiny_bundle(Path(temporary) / "tiny")
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            folder, out = Path(temporary) / f"{number:06}", Path(temporary) / "out"
            make_batch(folder, options.batch, whole, rng)
            rows, gib = run_batch(folder, out, bundle)
            found = {
                path: row["error"] for path, row in rows.items() if suspicious(row)
            }
            if gib > MEMORY_GIB:
                found = dict.fromkeys(
                    rows, f"one of these drove the run to {gib:.1f} GiB"
                )
            for path, said in found.items():
                options.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / path, options.keep / f"{folder.name}-{path}")
                print(f"{options.keep / folder.name}-{path}: {said}", flush=True)
            number, finds, most = number + len(rows), finds + len(found), max(most, gib)
            counts.update(row["status"] for row in rows.values())
            counts["with a note"] += sum(bool(row["notes"]) for row in rows.values())
            shutil.rmtree(folder)
            shutil.rmtree(out)
    print(
        f"{number} recordings, seed {options.seed}: {dict(counts)}; "
        f"at most {most:.2f} GiB; {finds} finds"
    )
    sys.exit(bool(finds))


if __name__ == "__main__":
    main()

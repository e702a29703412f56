"""Peak memory of `ser analyze` on long, wide and very many recordings.

    python tests/benchmarks/memory.py [--hours 10] [--files 100000] [--bundle telephone]

Prints the peak PSS of the whole process tree for a one-hour stereo recording, a long
one, one of eight channels, long mono calls whose voices are told apart, and many tiny
files. Ratios are relative to the first.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parents[2]
BAR_RATIO, BAR_GIB = 1.2, 2.0


def make_recording(path: Path, hours: float, source: Path, channels: int = 2) -> None:
    """Write the source repeatedly, block by block, until `hours` are reached."""
    with soundfile.SoundFile(source) as file:
        call = file.read(dtype="int16", always_2d=True)[
            :, np.arange(channels) % file.channels
        ]
        rate = file.samplerate
    # Make all channels different.
    call = np.stack(
        [np.roll(column, 4000 * i) for i, column in enumerate(call.T)], axis=1
    )
    left = round(hours * 3600 * rate)
    with soundfile.SoundFile(path, "w", rate, channels, "ULAW", format="WAV") as out:
        while left:
            out.write(call[:left])
            left -= min(left, len(call))
    os.utime(path, (time.time() - 60,) * 2)


def make_tiny(folder: Path, number: int, source: Path) -> None:
    """Make many hard links to a file of half a second of speech."""
    with soundfile.SoundFile(source) as file:
        file.seek(file.samplerate)
        speech = file.read(file.samplerate // 2, dtype="int16", always_2d=True)
    for i in range(number):
        path = folder / f"{i // 1000:03}" / f"{i:06}.wav"
        path.parent.mkdir(exist_ok=True)
        # File systems limit the number of hard links to one file.
        if i % 30_000 == 0:
            soundfile.write(path, speech, 8000, subtype="ULAW")
            os.utime(path, (time.time() - 60,) * 2)
            source = path
        else:
            os.link(source, path)


def tree_pss(process: psutil.Process) -> int:
    """Return the PSS of the process and its children in bytes."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def peak_pss(recording: Path, out: Path, *arguments: str) -> tuple[int, float]:
    """Return the peak PSS in bytes and the seconds of one analysis."""
    command = [
        sys.executable,
        "-m",
        "ser_batch",
        "analyze",
        recording,
        "--out",
        out,
        "--quiet",
        *arguments,
    ]
    start = time.monotonic()
    process = psutil.Popen(list(map(str, command)), cwd=ROOT)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_pss(process))
        time.sleep(0.1)
    assert process.returncode == 0
    return peak, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bundle", default="telephone")
    parser.add_argument(
        "--call",
        type=Path,
        default=ROOT / "examples" / "calls" / "billing" / "1001.wav",
    )
    options = parser.parse_args()
    cases: dict[str, Callable[[Path], None]] = {
        "1 h of stereo": lambda folder: make_recording(
            folder / "x.wav", 1.0, options.call
        ),
        f"{options.hours:g} h of stereo": lambda folder: make_recording(
            folder / "x.wav", options.hours, options.call
        ),
        "1 h of 8 channels": lambda folder: make_recording(
            folder / "x.wav", 1.0, options.call, 8
        ),
        "1 h of mono": lambda folder: make_recording(
            folder / "x.wav", 1.0, options.call, 1
        ),
        f"{options.hours:g} h of mono": lambda folder: make_recording(
            folder / "x.wav", options.hours, options.call, 1
        ),
        f"{options.files:,} files of 0.5 s": lambda folder: make_tiny(
            folder, options.files, options.call
        ),
    }
    first = 0
    for name, make in cases.items():
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "in").mkdir()
            make(Path(work) / "in")
            folder = Path(work)
            arguments = ["--bundle", options.bundle, "--speakers", "2"]
            peak, wall = peak_pss(folder / "in", folder / "out", *arguments)
        first = first or peak
        print(
            f"{name:>24}: peak {peak / 2**30:.2f} GiB PSS, {wall:.0f} s, "
            f"ratio {peak / first:.2f}",
            flush=True,
        )
    print(f"limits: ratio {BAR_RATIO} for hours, {BAR_GIB:.0f} GiB for all")


if __name__ == "__main__":
    main()

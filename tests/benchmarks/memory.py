"""Peak memory of `ser analyze` on a long recording, against a short one.

    python tests/benchmarks/memory.py [--hours 10] [--bundle telephone]

Prints the peak PSS of the whole process tree for a stereo recording of one hour and for one of ten.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parents[2]
BAR_RATIO, BAR_GIB = 1.2, 2.0


def make_recording(path: Path, hours: float, source: Path) -> None:
    """The source again and again, written block by block."""
    with soundfile.SoundFile(source) as file:
        call = file.read(dtype="int16", always_2d=True)
        rate = file.samplerate
    left = round(hours * 3600 * rate)
    with soundfile.SoundFile(path, "w", rate, call.shape[1], "ULAW", format="WAV") as out:
        while left:
            out.write(call[:left])
            left -= min(left, len(call))
    os.utime(path, (time.time() - 60,) * 2)


def tree_pss(process: psutil.Process) -> int:
    """Bytes that the process and its children hold, with shared pages divided among those that share."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def peak_pss(recording: Path, out: Path, bundle: str) -> tuple[int, float]:
    """Peak bytes and seconds of one analysis."""
    command = [sys.executable, "-m", "ser_batch", "analyze", recording, "--out", out, "--bundle", bundle, "--quiet"]
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
    parser.add_argument("--bundle", default="telephone")
    parser.add_argument("--call", type=Path, default=ROOT / "examples" / "calls" / "billing" / "1001.wav")
    options = parser.parse_args()
    peaks = []
    for hours in (1.0, options.hours):
        with tempfile.TemporaryDirectory() as work:
            recording = Path(work) / "long.wav"
            make_recording(recording, hours, options.call)
            peak, wall = peak_pss(recording, Path(work) / "out", options.bundle)
        peaks.append(peak)
        print(f"{hours:4.0f} h of stereo: peak {peak / 2**30:.2f} GiB PSS, {wall:.0f} s", flush=True)
    print(
        f"ratio {peaks[1] / peaks[0]:.2f} (bar: {BAR_RATIO}), peak {np.max(peaks) / 2**30:.2f} GiB (bar: {BAR_GIB:.0f})"
    )


if __name__ == "__main__":
    main()

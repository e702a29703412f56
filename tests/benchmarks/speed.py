"""CPU time of `ser analyze` relative to decoding and Silero VAD alone.

    python tests/benchmarks/speed.py [--hours 2] [--bundle telephone]

Makes stereo calls of several minutes from the example voices, as 8 kHz mu-law WAV. One
run measures, on the same files, the CPU time of decoding plus Silero's sequence VAD
alone (the floor) and that of the whole analysis with all its processes. Imports are
excluded and printed separately. Prints a ratio, because absolute times on shared
machines are noisy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
CALL_S = 360


def cpu_s() -> float:
    """Return the CPU time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + children_cpu_s()


def children_cpu_s() -> float:
    """Return the CPU time of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def make_calls(folder: Path, n: int, source: Path, duration_s: int = CALL_S) -> None:
    """Make `n` calls from the speech of the source, each a bit different."""
    with soundfile.SoundFile(source) as file:
        call = file.read(always_2d=True)
        rate = file.samplerate
    for i in range(n):
        rolled = np.roll(
            np.tile(call, (-(-duration_s * rate // len(call)), 1)), i * 4321, axis=0
        )[: duration_s * rate]
        path = folder / f"{i:03}.wav"
        soundfile.write(path, rolled, rate, subtype="ULAW")
        os.utime(path, (time.time() - 60,) * 2)


def floor(folder: Path) -> tuple[float, float]:
    """Return the CPU seconds of decoding alone and of the VAD alone, by channel."""
    from silero_vad.sequence_vad import SileroVADSequence

    from ser_batch.audio.opening import open_audio
    from ser_batch.audio.resampling import Resampler
    from ser_batch.speech.silero import silero_model_path
    from ser_batch.speech.vad import SAMPLE_RATE

    vad = SileroVADSequence(str(silero_model_path()), max_frames=512)
    decoding = detecting = 0.0
    for path in sorted(folder.iterdir()):
        start = cpu_s()
        with open_audio(path) as audio:
            resampler = Resampler(audio.sample_rate, SAMPLE_RATE, audio.channels)
            blocks = [*(resampler.push(block) for block in audio), resampler.finish()]
        middle = cpu_s()
        for channel in range(audio.channels):
            vad.audio_forward(np.concatenate([block[channel] for block in blocks]))
        decoding, detecting = decoding + middle - start, detecting + cpu_s() - middle
    return decoding, detecting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--bundle", default="telephone")
    parser.add_argument(
        "--call",
        type=Path,
        default=ROOT / "examples" / "calls" / "billing" / "1001.wav",
    )
    options = parser.parse_args()

    start = cpu_s()
    import torch  # noqa: F401

    import ser_batch.speech.silero  # noqa: F401

    imports = cpu_s() - start
    code = "import ser_batch.engine.processes"
    start = cpu_s()
    subprocess.run([sys.executable, "-c", code], check=True)
    worker_imports = cpu_s() - start

    with tempfile.TemporaryDirectory() as work:
        calls = Path(work) / "calls"
        calls.mkdir()
        n = round(options.hours * 3600 / CALL_S)
        make_calls(calls, n, options.call)
        decoding, detecting = floor(calls)
        alone = decoding + detecting

        from ser_batch.config.options import Config
        from ser_batch.pipeline import run

        config = Config().updated(
            {"score": {"bundle": options.bundle}, "run": {"device": "cpu"}}
        )
        start, start_children, wall = cpu_s(), children_cpu_s(), time.monotonic()
        progress = run([str(calls)], Path(work) / "out", config, threading.Event())
        wall = time.monotonic() - wall
        workers = max(
            1, len(os.sched_getaffinity(0)) - max(1, len(os.sched_getaffinity(0)) // 2)
        )
        whole = cpu_s() - start - workers * worker_imports
        in_workers = children_cpu_s() - start_children - workers * worker_imports
        again = cpu_s()
        decode_again, detect_again = floor(calls)
        again = cpu_s() - again

    assert progress.done == n
    audio_h = progress.audio_s / 3600
    # Measured before and after, so that other load on the machine affects both.
    alone = (alone + again) / 2
    print(f"{n} stereo calls, {audio_h:.2f} h, {progress.segments} segments scored")
    print(
        f"imports, excluded         {imports:8.1f} s of CPU, "
        f"and {worker_imports:.1f} s in each of {workers} workers"
    )
    print(f"decoding alone            {(decoding + decode_again) / 2:8.1f} s of CPU")
    print(f"Silero VAD alone          {(detecting + detect_again) / 2:8.1f} s of CPU")
    print(f"ser analyze, all of it    {whole:8.1f} s of CPU, {wall:.1f} s wall time")
    print(
        f"  decoding processes      {in_workers:8.1f} s "
        "(decode, hash, resample, VAD, segments, write waveforms)"
    )
    print(
        f"  scoring process         {whole - in_workers:8.1f} s "
        "(read waveforms, MFCC, network, rows, Parquet)"
    )
    print(
        f"speed                     {progress.audio_s / wall:8.0f} "
        "x real time of stereo calls"
    )
    print(f"ratio                     {whole / alone:8.2f}   (limit: 3.0)")


if __name__ == "__main__":
    main()

"""Where the time of `ser analyze` goes with a GPU.

    python tests/benchmarks/gpu.py [--device cuda] [--hours 20] [--workers N]

Makes stereo calls of six minutes, as 8 kHz mu-law WAV, and measures, as times real
time: decoding alone, in all worker processes; scoring alone, from memory, for several
batch sizes, next to packing alone (waveforms into padded batches) and computing alone
(copying, features and network of packed batches); and the whole run, with the use of
the GPU as nvidia-smi sees it. The slowest of the three limits the whole. On a CPU
(`--device cpu`) it shows the same of the CPU.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.config.options import Config
from ser_batch.emotion.batch_scorer import BatchScorer
from ser_batch.emotion.batches import SegmentBatch, SegmentBatches
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.pending import PendingSegment
from ser_batch.engine.machine import divided_cores
from ser_batch.engine.processes import LocalProcesses
from ser_batch.intervals import sample_index
from ser_batch.pipeline import run
from ser_batch.sources.local import LocalSource
from ser_batch.sources.source import with_ids
from ser_batch.speech.decoded import Decoded, Job, Task
from ser_batch.speech.waveforms import LocalWaveforms
from tests.benchmarks.speed import CALL_S, make_calls

EXAMPLE = Path(__file__).parents[2] / "examples" / "calls" / "billing" / "1001.wav"
BATCH_SIZES = (16, 64, 256, 1024)
N_SEGMENTS = 4096


class Utilisation:
    """Samples the use of the GPU twice a second, in a `with` block."""

    def __enter__(self) -> "Utilisation":
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self._process = subprocess.Popen(
            ["nvidia-smi", *query, "-lms", "500"], stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        out, _ = self._process.communicate()
        self.percent = [int(line) for line in out.split() if line.isdigit()]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a piece of work takes, until the device is done."""
    start = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - start


def decode_all(
    calls: Path, folder: Path, config: Config, rate: int, workers: int
) -> tuple[float, float, list[np.ndarray]]:
    """Return hours of audio, seconds of decoding, and some of the segments."""
    source = LocalSource()
    job = Job(config, rate, source, LocalWaveforms(folder))
    found = with_ids(source.find([str(calls)]).recordings)
    tasks = [Task(recording, source.stamp(recording)) for recording in found]
    audio_s, segments = 0.0, list[np.ndarray]()
    start = time.monotonic()
    for outcome in LocalProcesses(workers).decode(tasks, job, threading.Event()):
        if not isinstance(outcome, Decoded):
            continue
        audio_s += outcome.duration_s
        own = outcome.recording.recording_id
        for number, channel in enumerate(outcome.speakers):
            for segment in channel.segments if len(segments) < N_SEGMENTS else ():
                at = sample_index(segment.start_s, rate)
                n = sample_index(segment.end_s, rate) - at
                segments.append(np.array(job.waveforms.read(own, number, at, n)))
    return audio_s / 3600, time.monotonic() - start, segments


def pending(segments: Sequence[np.ndarray]) -> Iterator[PendingSegment]:
    for number, waveform in enumerate(segments):
        yield PendingSegment(number, len(waveform), partial(np.asarray, waveform))


def print_scoring(scorer: BatchScorer, segments: Sequence[np.ndarray]) -> None:
    """Print how fast segments are packed, computed, and scored, by batch size."""
    speech_s = sum(map(len, segments)) / scorer.sample_rate
    print(
        f"\nscoring {len(segments)} segments, {speech_s / 60:.0f} min, times real time"
    )
    print(f"{'batch size':>10} {'packing':>9} {'computing':>9} {'together':>9}")
    for size in BATCH_SIZES:
        batches: list[SegmentBatch] = []

        def pack(size: int = size, into: list[SegmentBatch] = batches) -> None:
            stream = SegmentBatches(pending(segments), size)
            into.extend(own for own in stream if isinstance(own, SegmentBatch))

        def compute(packed: list[SegmentBatch] = batches) -> None:
            for batch in packed:
                scorer.scores(batch)

        def together(size: int = size) -> None:
            for _ in scorer.score(pending(segments), size):
                pass

        packing = seconds(pack, scorer.device)
        compute()  # once to warm up
        computing = seconds(compute, scorer.device)
        whole = seconds(together, scorer.device)
        speeds = (speech_s / s for s in (packing, computing, whole))
        print(f"{size:>10} " + " ".join(f"{speed:>9,.0f}" for speed in speeds))


def main() -> None:
    """Measure the stages and the whole, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hours", type=float, default=20.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--bundle", default="telephone")
    options = parser.parse_args()
    scorer = load_scorer(options.bundle, options.device)
    cuda = scorer.device.type == "cuda"
    name = torch.cuda.get_device_name(scorer.device) if cuda else "the CPU"
    decoding, scoring = divided_cores(cuda)
    workers = options.workers or decoding
    torch.set_num_threads(scoring)
    print(f"on {name}, {workers} decoding processes")
    run_options = {"device": options.device, "workers": workers}
    config = Config().updated({"score": {"bundle": options.bundle}, "run": run_options})
    with tempfile.TemporaryDirectory(prefix="ser-gpu-") as folder:
        calls, work = Path(folder) / "calls", Path(folder) / "work"
        calls.mkdir()
        work.mkdir()
        make_calls(calls, round(options.hours * 3600 / CALL_S), EXAMPLE)
        hours, decoding_s, segments = decode_all(
            calls, work, config, scorer.sample_rate, workers
        )
        print(f"decoding alone: {hours * 3600 / decoding_s:,.0f} times real time")
        print_scoring(scorer, list(islice(cycle(segments), N_SEGMENTS)))
        start, busy = time.monotonic(), Utilisation()
        if cuda:
            with busy:
                run([str(calls)], Path(folder) / "out", config, threading.Event())
        else:
            run([str(calls)], Path(folder) / "out", config, threading.Event())
        wall_s = time.monotonic() - start
    print(f"\nwhole run: {hours * 3600 / wall_s:,.0f} times real time, {wall_s:.1f} s")
    if cuda and busy.percent:
        percent = busy.percent
        print(
            f"GPU: {np.mean(percent):.0f} % busy on average, {max(percent)} % at most"
        )


if __name__ == "__main__":
    main()

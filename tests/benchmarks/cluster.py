"""What a Ray cluster costs on one machine, next to the processes of ser itself.

    python tests/benchmarks/cluster.py [--hours 2] [--repeat 3]

Analyses the same simulated calls with `--engine local` and `--engine ray`, in turn, and
prints wall-clock time and CPU time after start-up (from the fifth finished recording to
the last, when all processes work), and CPU time in all, each as a ratio of the medians.
Then the arithmetic for 100 nodes: what the driver does for each recording, and what a
task and its answer weigh.
"""

import argparse
import json
import pickle
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.engine.stages import finished_recordings
from ser_batch.engine.this_process import ThisProcess
from ser_batch.results.analysed import result_rows
from ser_batch.results.manifest import Identity
from ser_batch.results.writing import open_writer
from ser_batch.sources.everywhere import source_for
from ser_batch.sources.source import with_ids
from ser_batch.speech.decoded import Job, Task
from ser_batch.speech.waveforms import LocalWaveforms
from tests.support.paths import EXAMPLES, ROOT

NODES, CORES = 100, 8
STARTED = 5


def write_calls(folder: Path, hours: float) -> int:
    """Write different calls of six minutes; return how many."""
    waveform, rate = soundfile.read(EXAMPLES / "billing" / "1001.wav")
    whole = np.tile(waveform, (-(-360 * rate // len(waveform)), 1))[: 360 * rate]
    n = max(2 * STARTED, round(hours * 10))
    for number in range(n):
        path = folder / f"{number:03}.wav"
        soundfile.write(path, np.roll(whole, 1000 * number, 0), rate, subtype="ULAW")
    time.sleep(11)  # or they would be waited for, in case that they still grow
    return n


def measured(calls: Path, work: Path, engine: str) -> tuple[float, float, float]:
    """Return wall-clock and CPU time after start-up, and all CPU time of a run."""
    log = work / "log.jsonl"
    log.unlink(missing_ok=True)
    out = Path(tempfile.mkdtemp(dir=work))
    command = [
        sys.executable, "-m", "ser_batch", "analyze", str(calls), "--quiet",
        "--profile", "bundle", "--engine", engine, "--log-file", str(log),
        "--out", str(out / "results"), "--workers", "2",
    ]  # fmt: skip
    spent: dict[int, float] = {}
    starting_s: float | None = None
    process = psutil.Popen(command, cwd=ROOT)
    while process.poll() is None:
        for own in [process, *process.children(recursive=True)]:
            try:
                times = own.cpu_times()
            except psutil.Error:
                continue
            spent[own.pid] = times.user + times.system
        n_done = log.read_text().count('"recording"') if log.exists() else 0
        if starting_s is None and n_done >= STARTED:
            starting_s = sum(spent.values())
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{engine}: exit code {process.returncode}")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    at = [
        datetime.fromisoformat(event["at"]).timestamp()
        for event in events
        if event["event"] == "recording"
    ]
    total_s = sum(spent.values())
    return at[-1] - at[STARTED - 1], total_s - (starting_s or 0.0), total_s


def arithmetic(calls: Path, work: Path) -> None:
    """Print what 100 nodes would ask of the driver."""
    source, config = source_for(()), Config()
    found = with_ids(source.find([str(calls)]).recordings)[:1]
    task = Task(found[0], source.stamp(found[0]))
    scorer = load_scorer("telephone", "cpu")
    job = Job(config, scorer.sample_rate, source, LocalWaveforms(work))
    outcomes = ThisProcess().decode([task], job, threading.Event())
    (analysis,) = (
        own
        for own in finished_recordings(outcomes, job, scorer)
        if type(own).__name__ == "Analysis"
    )
    sent, back = len(pickle.dumps(task)), len(pickle.dumps(analysis))
    n, identity = 400, Identity(scorer.model_id, config.hash(), scorer.labels)
    with open_writer(work / "rows", identity) as writer:
        start = time.perf_counter()
        for number in range(n):
            rows = result_rows(analysis, identity)
            own = {"recording_id": f"{number:016}"}
            rows.recording.update(own)
            for table in (rows.speech, rows.segments):
                table["recording_id"] = [own["recording_id"]] * len(table["start_s"])
            writer.add(rows)
        writer.commit()
        driver_s = (time.perf_counter() - start) / n
    start = time.perf_counter()
    again = ThisProcess().decode([task], job, threading.Event())
    list(finished_recordings(again, job, scorer))
    call_s = time.perf_counter() - start
    rate = NODES * CORES / call_s
    print(
        f"\n{NODES} nodes of {CORES} cores, calls of six minutes: one takes a core "
        f"{call_s:.2f} s, so {rate:,.0f} calls a second are finished. The driver needs "
        f"{driver_s * 1000:.1f} ms for the rows of each: at most {1 / driver_s:,.0f} a "
        f"second. A task weighs {sent:,} bytes, an answer {back:,}: "
        f"{rate * (sent + back) / 1e6:.1f} MB a second; the waveforms of its segments, "
        "which stay where they are, would be "
        f"{rate * 360 * 8000 * 4 * 0.35 / 1e9:.1f} GB a second (one side, speech 35 % "
        "of the time)."
    )


def main() -> None:
    """Measure both engines in turn, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "calls").mkdir()
        n = write_calls(work / "calls", options.hours)
        for _ in range(options.repeat):
            for engine, own in found.items():
                own.append(measured(work / "calls", work, engine))
        print(f"{n} calls of six minutes, median of {options.repeat}")
        kinds = ("wall clock after start-up", "CPU time after start-up", "all CPU time")
        for i, what in enumerate(kinds):
            local, ray = (
                statistics.median(pair[i] for pair in found[engine]) for engine in found
            )
            print(f"{what}: local {local:.1f} s, ray {ray:.1f} s, {ray / local:.2f} x")
        arithmetic(work / "calls", work)


if __name__ == "__main__":
    main()

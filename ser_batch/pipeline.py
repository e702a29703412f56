"""Every stage in order: read this first.

    find_recordings -> decode_all -> SegmentBatches -> Scorer -> Assembly -> rows -> ResultsWriter

`analyze` yields what it finds; `run` writes it to a results directory, and can be run again.
"""

import os
import platform
import resource
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ser_batch import __version__
from ser_batch.analysis import Analysis, Assembly, rows
from ser_batch.bundles import load_bundle
from ser_batch.config import Config
from ser_batch.decoding import Decoded, Failed, Growing, Job, Task, Unchanged, stamp_of
from ser_batch.errors import UsageError
from ser_batch.inference import PendingSegment, Scorer
from ser_batch.manifest import Identity
from ser_batch.parts import read_known
from ser_batch.planning import failed_before, to_do
from ser_batch.progress import Progress
from ser_batch.recordings import Found, find_recordings, shown
from ser_batch.results import open_results
from ser_batch.runlog import RunLog, check_place
from ser_batch.workers import decode_all


def analyze(paths: Iterable[str | os.PathLike[str]], config: Config | None = None) -> Iterator[Analysis]:
    """Analyses recordings and yields each as it is done; nothing is written.

    Args:
        paths: files, folders, globs or `@list.txt`, as `ser analyze` takes them.
        config: all options; None for the defaults.

    Raises:
        UsageError: a path does not exist, or an option cannot be met here.
    """
    config = config or Config()
    found = find_recordings(os.fspath(path) for path in paths)
    scorer = Scorer(load_bundle(config.score.bundle), config.run.device)
    with tempfile.TemporaryDirectory(prefix="ser-") as work:
        tasks = [Task(recording, stamp_of(recording)) for recording in found.recordings]
        for outcome in _outcomes(tasks, config, scorer, Path(work), threading.Event()):
            if isinstance(outcome, Analysis):
                yield outcome


def run(
    inputs: Sequence[str],
    out: Path,
    config: Config,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Brings a results directory up to date with its inputs: new and changed recordings are analysed.

    Once `stop` is set, no more recordings are begun, and those that are done are committed.
    `on_progress` is called at least about once a second.

    Raises:
        UsageError: the inputs, the options or the results directory cannot be used.
    """
    found = find_recordings(inputs)
    scorer = Scorer(load_bundle(config.score.bundle), config.run.device)
    bundle = scorer.bundle
    identity = Identity(bundle.model_id, config.hash(), bundle.labels)
    check_place(config.run.log_file, out)
    with RunLog(config.run.log_file) as log, open_results(out, identity) as results:
        tasks = to_do(found, results.known, config.run.retry_failed)
        progress = Progress(len(found.recordings), found.ignored, found.unreadable)
        progress.skipped, progress.held = progress.found - len(tasks), len(results.known)
        progress.failed_before = failed_before(found, results.known, tasks)
        progress.sizes = {task.recording: task.stamp.size_bytes if task.stamp else 0 for task in tasks}
        progress.total_bytes = sum(progress.sizes.values())
        record = _record(inputs, config, scorer)
        results.write_record(record | {"finished_at": None, "counts": progress.counts()})
        log.write("run started", out=shown(os.path.abspath(out)), to_do=len(tasks), **record)
        try:
            for outcome in _outcomes(tasks, config, scorer, results.work, stop):
                if outcome is not None:
                    progress.count(outcome)
                    log.write("recording", **_event(outcome))
                if isinstance(outcome, Analysis):
                    results.add(rows(outcome, identity))
                if config.run.strict and progress.failed:
                    stop.set()
                results.commit_if_due()
                on_progress(progress)
        except UsageError:
            results.clear_work()  # the room that its waveforms took may be what the rows need
            raise
        finally:
            # What is done stays done, whatever ended the loop.
            results.commit()
            log.write("committed", recordings=len(results.known))
        progress.interrupted = stop.is_set() and progress.pending > 0
        finished = {"finished_at": datetime.now(UTC).isoformat(), "interrupted": progress.interrupted}
        finished["peak_memory_bytes"] = peak_memory_bytes()
        results.write_record(record | finished | {"counts": progress.counts()})
        log.write("run finished", **finished, **progress.counts())
        progress.check(found.recordings, results.known)
    return progress


def _event(outcome: Analysis | Unchanged | Growing) -> dict[str, Any]:
    """What a log says of a recording."""
    recording = outcome.outcome.recording if isinstance(outcome, Analysis) else outcome.recording
    said: dict[str, Any] = {"recording_id": recording.recording_id, "path": shown(recording.path)}
    match outcome:
        case Unchanged():
            return said | {"status": "skipped"}
        case Growing():
            return said | {"status": "growing"}
        case Analysis(outcome=Failed() as failed):
            return said | {"status": "failed", "error": failed.error}
        case _:
            decoded = outcome.outcome
            assert isinstance(decoded, Decoded)
            return said | {"status": "done", "duration_s": decoded.duration_s, "segments": len(outcome.segments)}


def peak_memory_bytes() -> int:
    """The most memory that this process has held, and the largest of those that it has waited for."""
    return 1024 * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def plan(inputs: Sequence[str], out: Path, config: Config) -> tuple[Found, list[Task]]:
    """What `run` would do: all recordings that are there, and those of them that it would analyse.

    Raises:
        UsageError: as `run` would.
    """
    found = find_recordings(inputs)
    bundle = load_bundle(config.score.bundle)
    known = read_known(out, Identity(bundle.model_id, config.hash(), bundle.labels))
    return found, to_do(found, known, config.run.retry_failed)


def _outcomes(
    tasks: Sequence[Task], config: Config, scorer: Scorer, work: Path, stop: threading.Event
) -> Iterator[Analysis | Unchanged | Growing | None]:
    """Both stages: recordings are decoded, their segments scored in common batches, and each recording
    handed on once it is whole. None about every second, so that the caller can look after other things."""
    if not tasks:
        return
    # Half of the cores decode and half score: on a CPU the two take about the same time.
    cores = usable_cores()
    threads = 1 if scorer.device.type == "cuda" else max(1, cores // 2)
    workers = min(config.run.workers or max(1, cores - threads), len(tasks))
    job = Job(config, scorer.bundle.features.sample_rate, work)
    ready: list[Analysis | Unchanged | Growing] = []
    waiting: dict[str, Assembly] = {}

    def items() -> Iterator[PendingSegment | None]:
        for outcome in decode_all(tasks, job, workers, stop):
            match outcome:
                case None:
                    yield None
                case Decoded():
                    assembly = Assembly(outcome, scorer, config.score.abstain_below, work)
                    if assembly.left:
                        waiting[outcome.recording.recording_id] = assembly
                        yield from assembly.items()
                    else:
                        ready.append(assembly.finish())
                case Failed():
                    ready.append(Analysis(outcome, []))
                case _:
                    ready.append(outcome)

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for scores in scorer.score(items(), config.run.batch_size):
            for (recording_id, number), probabilities, loudness in zip(*scores or ((), (), ()), strict=True):
                waiting[recording_id].add(number, probabilities, float(loudness))
                if not waiting[recording_id].left:
                    ready.append(waiting.pop(recording_id).finish())
            yield from ready
            ready.clear()
            yield None
        yield from ready
    finally:
        torch.set_num_threads(threads_before)


def usable_cores() -> int:
    """The cores that this process may use: its affinity, or less where its container has a quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def _record(inputs: Sequence[str], config: Config, scorer: Scorer) -> dict[str, Any]:
    """What is used, for `run.json`."""
    names = ("torch", "torchaudio", "onnxruntime", "silero-vad", "soundfile", "av", "soxr", "numpy", "pyarrow")
    bundle = scorer.bundle
    return {
        "ser_version": __version__,
        "started_at": datetime.now(UTC).isoformat(),
        "inputs": [shown(given) for given in inputs],
        "model": {"id": bundle.model_id, "labels": bundle.labels, "licence": bundle.licence},
        "config": config.to_dict(),
        "config_hash": config.hash(),
        "device": str(scorer.device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }

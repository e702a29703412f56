"""The pipeline, stage by stage: start reading here.

    sources     Source.find             inputs -> recordings
    results     match_recordings        recordings -> new, known, moved, copies
                tasks_for               recordings -> the ones to analyse
    engine      draw_profile            a sample of recordings -> profile of the place
    speech      decode                  recording -> speech regions and segments
                                        (in worker processes of `engine`)
    emotion     Scorer.score            segments -> probabilities, in shared batches
                Assembly                probabilities -> one analysed recording
    results     rows_or_failure         analysed recording -> rows
                ResultsWriter           rows -> Parquet, committed in one step

`analyze` yields analysed recordings; `run` writes them to a results directory and can
be repeated every night.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.bundle_files import read_bundle
from ser_batch.emotion.profile import Profile, read_profile
from ser_batch.emotion.scorer import ModelInfo, Scorer
from ser_batch.engine.engine import TICK, Engine
from ser_batch.engine.machine import divided_cores, usable_cores
from ser_batch.engine.processes import LocalProcesses
from ser_batch.engine.profiling import draw_profile, without
from ser_batch.engine.progress import Progress
from ser_batch.engine.ray_connection import check_cluster
from ser_batch.engine.record import Journal, run_record
from ser_batch.engine.runlog import RunLog, check_log_location
from ser_batch.engine.stages import finished_recordings
from ser_batch.errors import UsageError
from ser_batch.results.analysed import (
    copy_row,
    moved_columns,
    rows_or_failure,
    stamp_columns,
)
from ser_batch.results.known import read_known
from ser_batch.results.manifest import Identity
from ser_batch.results.matching import Matched, match_recordings
from ser_batch.results.planning import count_failed_before, tasks_for
from ser_batch.results.writing import ResultsWriter, open_writer
from ser_batch.sources.everywhere import source_for
from ser_batch.sources.source import Found, Source, in_shard, with_ids
from ser_batch.speech.decoded import Job, Outcome, Task, Unchanged
from ser_batch.speech.waveforms import LocalWaveforms
from ser_batch.storage.checkout import checkout_of, name_of

if TYPE_CHECKING:
    from ser_batch.engine.cluster import RayEngine


def analyze(
    paths: Iterable[str | os.PathLike[str]],
    config: Config | None = None,
    *,
    scorer: Scorer | None = None,
    engine: Engine | None = None,
) -> Iterator[Analysis]:
    """Analyse recordings and yield each one as it finishes, without writing results.

    Unless the configuration names a profile, the normalisation statistics are those of
    the bundle's training, since recordings are yielded before all of them are known.

    Args:
        paths: files, folders, globs or `@list.txt`, as for `ser analyze`.
        config: all options; None for the defaults.
        scorer: a loaded model; None to load the one in the configuration.
        engine: decodes the recordings; None for worker processes on this machine. These
            import the main script, which needs an `if __name__ == "__main__":` guard.

    Raises:
        UsageError: a path does not exist, or an option cannot be used here.
    """
    config = config or Config()
    source = source_for(config.run.storage_options)
    scorer = scorer or _scorer(config)
    found = source.find(os.fspath(path) for path in paths)
    tasks = [Task(own, source.stamp(own)) for own in with_ids(found.recordings)]
    engine = engine or _beside_scoring(config, scorer, len(tasks))
    with tempfile.TemporaryDirectory(prefix="ser-") as work:
        job = Job(config, scorer.sample_rate, source, LocalWaveforms(Path(work)))
        outcomes = engine.decode(tasks, job, threading.Event())
        for finished in finished_recordings(outcomes, job, scorer):
            if isinstance(finished, Analysis):
                yield finished


def run(
    inputs: Sequence[str],
    out: Path,
    config: Config,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    source: Source | None = None,
    scorer: Scorer | None = None,
    engine: Engine | None = None,
) -> Progress:
    """Bring a results directory up to date: analyse new and changed recordings.

    Args:
        inputs: files, folders, globs or `@list.txt`, as for `ser analyze`.
        out: the results directory; created if missing.
        config: all options.
        stop: when set, no more recordings are started, and finished ones are committed.
        on_progress: called at least about once a second.
        source: finds the inputs; None for the file system.
        scorer: a loaded model; None to load the one in the configuration.
        engine: decodes the recordings; None for worker processes on this machine.

    Raises:
        UsageError: the inputs, the options or the results directory cannot be used.
    """
    source = source or source_for(config.run.storage_options)
    if config.run.engine == "ray":
        check_cluster(config.run.ray_address)
    if scorer is None and _is_checked_by_loading(config):
        scorer = _scorer(config)
    model: ModelInfo = scorer or read_bundle(config.score.bundle)
    found = _found(source, inputs, config, model)
    check_log_location(config.run.log_file, out)
    identity = Identity.of(model, config)
    with RunLog(config.run.log_file) as log, open_writer(out, identity) as writer:
        matched = match_recordings(found.recordings, writer.known, source)
        tasks = tasks_for(matched, writer.known, config.run.retry_failed)
        progress = _progress(found, matched, tasks, writer, model)
        del found  # there may be millions of them, and torch needs memory too
        if tasks:
            # Loaded only now: a night without new recordings needs no torch.
            scorer = scorer or _scorer(config)
        device = str(scorer.device) if scorer else None
        record = run_record(inputs, config, model, device)
        journal = Journal(record, writer.write_record, log, progress)
        journal.begin(name_of(out.absolute()))
        restamped: dict[str, dict[str, Any]] = {}
        with _committing(writer, journal):
            _move(writer, matched, journal)
            if scorer:
                # Nothing is scored while the profile is drawn.
                drawing = engine or _processes(config, usable_cores(), len(tasks))
                waveforms = LocalWaveforms(writer.work)
                job = Job(config, scorer.sample_rate, source, waveforms)
                scorer, drawn = _profiled(
                    scorer, writer, tasks, job, drawing, stop,
                    lambda: on_progress(progress),
                )  # fmt: skip
                left = without(tasks, drawn)
                decoding = engine or _engine(
                    config, scorer, len(left), writer.profile()
                )
                outcomes = chain(drawn, decoding.decode(left, job, stop))
                for finished in finished_recordings(outcomes, job, scorer):
                    if isinstance(finished, Analysis):
                        finished, rows = rows_or_failure(finished, writer.identity)
                        writer.add(rows)
                    elif isinstance(finished, Unchanged):
                        own = finished.recording.recording_id
                        restamped[own] = stamp_columns(finished.stamp)
                    if finished is not TICK:
                        journal.count(finished)
                    if config.run.strict and progress.failed:
                        stop.set()
                    writer.commit_if_due()
                    on_progress(progress)
            writer.commit()
            _add_copies(writer, matched, journal, stop.is_set())
        if restamped:
            writer.amend(restamped)
        journal.end(interrupted=stop.is_set())
        copies = [copy.recording for copy in matched.copies]
        progress.check([*matched.recordings, *copies], writer.known)
    return progress


def _move(writer: ResultsWriter, matched: Matched, journal: Journal) -> None:
    """Record the new location of recordings that were found elsewhere."""
    changes = {
        recording.recording_id: moved_columns(recording, recording.stamp)
        for recording in matched.moved
    }
    if changes:
        writer.amend(changes, matched.replaced)
    for recording in matched.moved:
        journal.moved(recording)


def _add_copies(
    writer: ResultsWriter, matched: Matched, journal: Journal, stopped: bool
) -> None:
    """Add rows for copies whose originals have rows; leave others to the next run."""
    for copy in matched.copies:
        if copy.original in writer.known:
            writer.add(copy_row(copy, writer.identity))
            journal.copied(copy.recording, copy.original)
        elif not stopped:
            journal.progress.growing += 1


def _profiled(
    scorer: Scorer,
    writer: ResultsWriter,
    tasks: Sequence[Task],
    job: Job,
    engine: Engine,
    stop: threading.Event,
    on_tick: Callable[[], None],
) -> tuple[Scorer, list[Outcome]]:
    """Return the scorer with a profile, and the outcomes decoded to draw the profile.

    The first run into a new directory draws the profile; all rows use it from then on.
    """
    choice = job.config.score.profile
    if choice == "bundle" and writer.identity.profile_id:
        raise UsageError(
            f"{writer.directory}: its rows were scored with a profile of their place: "
            "omit --profile bundle, or choose a new --out",
            option="--profile",
        )
    if not scorer.takes_profile or choice == "bundle":
        return scorer, []
    if choice != "auto":
        writer.keep_profile(read_profile(Path(choice)))
    profile: Profile | None = writer.profile()
    drawn: list[Outcome] = []
    if profile is None and not writer.known and tasks:
        profile, drawn = draw_profile(tasks, job, engine, scorer, stop, on_tick)
        if profile is not None and not profile.roles:
            # The sample contains no speech: the next run draws the profile.
            profile = None
        if profile is not None:
            writer.keep_profile(profile)
    return scorer.with_profile(profile), drawn


def profile_place(
    inputs: Sequence[str],
    config: Config,
    stop: threading.Event,
    *,
    scorer: Scorer | None = None,
    engine: Engine | None = None,
) -> Profile | None:
    """Draw the profile of a place from a sample of its recordings.

    Return None if `stop` was set, or if the sample contains no speech.

    Raises:
        UsageError: an input does not exist, or the model does not use profiles.
    """
    source = source_for(config.run.storage_options)
    scorer = scorer or _scorer(config)
    if not scorer.takes_profile:
        raise UsageError(
            f"model {scorer.model_id} does not use profiles", option="--bundle"
        )
    found = source.find(inputs)
    tasks = [Task(own, source.stamp(own)) for own in with_ids(found.recordings)]
    engine = engine or _processes(config, usable_cores(), len(tasks))
    with tempfile.TemporaryDirectory(prefix="ser-") as work:
        job = Job(config, scorer.sample_rate, source, LocalWaveforms(Path(work)))
        drawn, _ = draw_profile(tasks, job, engine, scorer, stop)
    return drawn if drawn is not None and drawn.roles else None


@contextmanager
def _committing(writer: ResultsWriter, journal: Journal) -> Iterator[None]:
    """Commit finished recordings, however the block ends."""
    try:
        yield
    except UsageError:
        # If the disk is full, the rows may need the space taken by the waveforms.
        writer.clear_work()
        raise
    finally:
        writer.commit()
        journal.committed(len(writer.known))


def plan(inputs: Sequence[str], out: Path, config: Config) -> tuple[Found, list[Task]]:
    """Return what `run` would find, and which recordings it would analyse.

    Raises:
        UsageError: as for `run`.
    """
    source = source_for(config.run.storage_options)
    model = read_bundle(config.score.bundle)
    found = _found(source, inputs, config, model)
    identity = Identity.of(model, config)
    known = read_known(out, identity)
    matched = match_recordings(found.recordings, known, source)
    return found, tasks_for(matched, known, config.run.retry_failed)


def _found(
    source: Source, inputs: Sequence[str], config: Config, model: ModelInfo
) -> Found:
    """Find the recordings, or those of one shard.

    Raises:
        UsageError: an input does not exist; or each shard would draw its own profile.
    """
    shard = config.run.shard_of
    if shard is not None and model.takes_profile and config.score.profile == "auto":
        raise UsageError(
            "--shard: each shard would draw a profile of its own, and could not be "
            "merged with the others. Make one for all with `ser profile make INPUTS "
            "--out centre.json`, and give it as --profile centre.json",
            option="--shard",
        )
    found = source.find(inputs)
    if shard is not None:
        found.recordings = [own for own in found.recordings if in_shard(own, *shard)]
    return found


def _scorer(config: Config) -> Scorer:
    from ser_batch.emotion.loading import load_scorer  # with all of torch

    choice = config.score.profile
    profile = None if choice in ("auto", "bundle") else read_profile(Path(choice))
    # The GPUs of a cluster are not those of the driver.
    device = config.run.device if config.run.engine == "local" else "auto"
    return load_scorer(config.score.bundle, device, profile)


def _is_checked_by_loading(config: Config) -> bool:
    """Return whether only loading the model shows that an option cannot be met."""
    by_device = config.run.engine == "local" and config.run.device not in (
        "auto",
        "cpu",
    )
    return config.score.profile != "auto" or by_device


def _engine(
    config: Config, scorer: Scorer, n_tasks: int, profile: Profile | None
) -> "Engine | RayEngine":
    """Return the engine of the configuration, for all but the profile's sample."""
    if config.run.engine == "local":
        return _beside_scoring(config, scorer, n_tasks)
    from ser_batch.engine.cluster import RayEngine

    return RayEngine(config.run.ray_address, profile)


def _beside_scoring(config: Config, scorer: Scorer, n_tasks: int) -> LocalProcesses:
    decoding, _ = divided_cores(scorer.device.type == "cuda")
    return _processes(config, decoding, n_tasks)


def _processes(config: Config, cores: int, n_tasks: int) -> LocalProcesses:
    return LocalProcesses(min(config.run.workers or cores, max(1, n_tasks)))


def _progress(
    found: Found,
    matched: Matched,
    tasks: Sequence[Task],
    writer: ResultsWriter,
    model: ModelInfo,
) -> Progress:
    sizes = {
        task.recording: task.stamp.size_bytes if task.stamp else 0 for task in tasks
    }
    return Progress(
        found=len(found.recordings),
        ignored=found.ignored,
        unreadable=found.unreadable,
        skipped=matched.unchanged + len(matched.recordings) - len(tasks),
        moved=len(matched.moved),
        copies=matched.known_copies,
        failed_before=count_failed_before(matched, writer.known, tasks),
        held=len(writer.known),
        has_links=writer.parts.manifest.generation > 0
        or checkout_of(writer.directory) is not None,
        sizes=sizes,
        total_bytes=sum(sizes.values()),
        licence=model.licence,
    )

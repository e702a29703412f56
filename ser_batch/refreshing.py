"""Score a results directory again with a new profile of its place."""

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ser_batch.config.options import Config
from ser_batch.engine.progress import Progress
from ser_batch.errors import ResultsError
from ser_batch.pipeline import run
from ser_batch.results.manifest import Manifest
from ser_batch.results.results import Results, open_results
from ser_batch.results.retention import REFRESH_FOLDER
from ser_batch.results.rows import Rows
from ser_batch.results.takeover import take_over
from ser_batch.sources.everywhere import Everywhere, source_for
from ser_batch.sources.source import Found
from ser_batch.text import printable


@dataclass(frozen=True, slots=True)
class KnownRecordings(Everywhere):
    """All sources, limited to the recordings of a results directory."""

    ids: Mapping[str, str] = field(default_factory=dict)
    """Recording ids by location."""

    def find(self, inputs: Iterable[str]) -> Found:
        """Return the known recordings among the inputs, with their existing ids."""
        found = Everywhere.find(self, inputs)
        own = [
            replace(recording, assigned_id=self.ids[location])
            for recording in found.recordings
            if (location := printable(recording.location)) in self.ids
        ]
        return Found(own, 0, found.unreadable)


def refresh(
    directory: Path,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Estimate a new profile from a directory's recordings, and rescore them all.

    The old rows are kept until the new ones are complete, and are then replaced in one
    step. If interrupted, the next call resumes where this one stopped.

    Raises:
        ResultsError: the directory contains no results, or recordings behind its rows
            can no longer be read; no row is discarded then.
    """
    results = open_results(directory)
    known = results.known
    config = _config(results.run_record, directory)
    config = config.updated({"score": {"profile": "auto"}})
    config = config.updated({"run": {"strict": False, "shard": None}})
    fresh = directory / REFRESH_FOLDER
    begun = Manifest.read(fresh)
    if begun and begun.identity.profile_id == results.identity.profile_id:
        # The new rows are already in place; only this folder's removal was interrupted.
        shutil.rmtree(fresh)
    everywhere = source_for(config.run.storage_options)
    source = KnownRecordings(
        everywhere.local,
        everywhere.buckets,
        {own.location: i for i, own in known.items() if not own.duplicate_of},
    )
    roots = sorted({own.input_root for _, own in known.items()})
    progress = run(roots, fresh, config, stop, on_progress, source=source)
    if progress.interrupted:
        return progress
    _keep_copies(open_results(directory), fresh)
    take_over(directory, fresh)
    return progress


def _keep_copies(results: Results, fresh: Path) -> None:
    """Add the copies among the old rows to the new ones."""
    with open_results(fresh).writer() as writer:
        for row in results.read("recordings").to_pylist():
            if (
                row["duplicate_of"] in writer.known
                and row["recording_id"] not in writer.known
            ):
                own = row | {"config_hash": writer.identity.row_hash}
                writer.add(Rows(own, {}, {}))
        writer.commit()


def _config(record: dict[str, Any], directory: Path) -> Config:
    if "config" not in record:
        raise ResultsError(
            f"{directory}: no run.json records how its rows were made: analyse the "
            "recordings into a new directory",
            path=directory,
        )
    return Config.from_dict(record["config"])

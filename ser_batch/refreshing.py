"""A results directory scored again with a new profile of its place."""

import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_batch.config.options import Config
from ser_batch.engine.progress import Progress
from ser_batch.errors import ResultsError
from ser_batch.pipeline import run
from ser_batch.results.manifest import Manifest
from ser_batch.results.results import open_results
from ser_batch.results.takeover import take_over
from ser_batch.sources.local import LocalSource
from ser_batch.sources.source import Found

FRESH_FOLDER = ".refresh"
"""Where the new rows wait; an interrupted refresh goes on with them."""


@dataclass(frozen=True, slots=True)
class KnownRecordings(LocalSource):
    """Of the file system, only the recordings that a results directory holds."""

    recording_ids: frozenset[str]

    def find(self, inputs: Iterable[str]) -> Found:
        """Return those that are in the inputs."""
        found = LocalSource.find(self, inputs)
        own = [r for r in found.recordings if r.recording_id in self.recording_ids]
        return Found(own, 0, found.unreadable)


def refresh(
    directory: Path,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Draw the profile anew from what a directory holds, and score all of it again.

    The old rows stay until the new ones are complete, and are then replaced in one
    step. Interrupted, it goes on where it was when it is called again.

    Raises:
        ResultsError: the directory holds no results, or recordings of its rows cannot be
            read any more: then no row is given up.
    """
    results = open_results(directory)
    known = results.known
    config = _config(results.run_record, directory)
    config = config.updated({"score": {"profile": "auto"}, "run": {"strict": False}})
    fresh = directory / FRESH_FOLDER
    begun = Manifest.read(fresh)
    if begun and begun.identity.profile_id == results.identity.profile_id:
        # It has been taken over already, and only its removal was interrupted.
        shutil.rmtree(fresh)
    source = KnownRecordings(frozenset(known))
    roots = sorted({own.input_root for own in known.values()})
    progress = run(roots, fresh, config, stop, on_progress, source=source)
    if progress.interrupted:
        return progress
    take_over(directory, fresh)
    return progress


def _config(record: dict[str, Any], directory: Path) -> Config:
    if "config" not in record:
        raise ResultsError(
            f"{directory}: has no run.json that tells how its rows were made: analyse "
            "the recordings into a new directory",
            path=directory,
        )
    return Config.from_dict(record["config"])

"""What a run has to do: the recordings found, against those that the results hold."""

import os
import time
from collections.abc import Mapping, Sequence

from ser_batch.errors import UsageError
from ser_batch.results.known import KnownRecording
from ser_batch.sources.source import Found, Recording, Source, Stamp
from ser_batch.speech.decoded import Task
from ser_batch.speech.decoding import YOUNG_S
from ser_batch.text import printable


def tasks_for(
    found: Found,
    known: Mapping[str, KnownRecording],
    source: Source,
    retry_failed: bool,
) -> list[Task]:
    """Return the recordings that are new, may have changed, or are to be tried again.

    The youngest files come last: they may still be growing, and get time to while the
    others are decoded.

    Raises:
        UsageError: a recording would take the place of another one, found in another
            input.
    """
    tasks = []
    for recording in found.recordings:
        before = known.get(recording.recording_id)
        stamp = source.stamp(recording)
        if before is None:
            tasks.append(Task(recording, stamp))
            continue
        _check_same_place(recording, before)
        if before.failed and retry_failed:
            tasks.append(Task(recording, stamp))
        elif stamp is None and not before.failed:
            continue  # gone, or out of reach for now: its rows stay
        elif not _is_same(stamp, before):
            tasks.append(Task(recording, stamp, before.content_hash))
    newest = time.time() - YOUNG_S
    return sorted(tasks, key=lambda task: _changed_after(newest, task.stamp))


def count_failed_before(
    found: Found, known: Mapping[str, KnownRecording], tasks: Sequence[Task]
) -> int:
    """Return how many recordings failed in an earlier run and are left as they are."""
    again = {task.recording for task in tasks}
    left = (known.get(r.recording_id) for r in found.recordings if r not in again)
    return sum(1 for recording in left if recording and recording.failed)


def _check_same_place(recording: Recording, before: KnownRecording) -> None:
    other = Recording(before.input_root, recording.path)
    root = printable(recording.root)
    if other.root != root and os.path.exists(other.file):
        raise UsageError(
            f"{printable(recording.path)} is in the results already, as found in "
            f"{other.root}, and is there still: analyse the common folder of "
            f"{other.root} and {root}, or choose another --out",
            path=recording.file,
        )


def _is_same(stamp: Stamp | None, known: KnownRecording) -> bool:
    """Return whether a file looks as it did; None stands for one that is not there."""
    if stamp is None:
        return known.size_bytes is None
    return (stamp.size_bytes, stamp.modified_at) == (
        known.size_bytes,
        known.modified_at,
    )


def _changed_after(newest: float, stamp: Stamp | None) -> bool:
    return stamp is not None and stamp.modified_at.timestamp() > newest

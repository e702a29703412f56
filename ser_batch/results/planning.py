"""Planning of a run: the recordings found, against those in the results."""

import time
from collections.abc import Sequence

from ser_batch.results.known import Known
from ser_batch.results.matching import Matched
from ser_batch.sources.source import Stamp
from ser_batch.speech.decoded import Task
from ser_batch.speech.decoding import RECENT_S


def tasks_for(matched: Matched, known: Known, retry_failed: bool) -> list[Task]:
    """Return the recordings that are new, may have changed, or are to be retried.

    Recently modified files come last: they may still be growing, and get time for that
    while the others are decoded.
    """
    tasks, moved = [], set(matched.moved)
    for recording in matched.recordings:
        before = known.get(recording.recording_id)
        stamp = recording.stamp
        if before is None or before.duplicate_of or (before.failed and retry_failed):
            tasks.append(Task(recording, stamp))
        elif (moved and recording in moved) or (stamp is None and not before.failed):
            continue  # gone, or unreachable for now: its rows are kept
        elif not before.has(stamp):
            tasks.append(Task(recording, stamp, before.content_hash))
    newest = time.time() - RECENT_S
    return sorted(tasks, key=lambda task: _changed_after(newest, task.stamp))


def count_failed_before(matched: Matched, known: Known, tasks: Sequence[Task]) -> int:
    """Return how many recordings failed in an earlier run and are not retried."""
    again = {task.recording for task in tasks}
    left = (known.get(r.recording_id) for r in matched.recordings if r not in again)
    return sum(1 for recording in left if recording and recording.failed)


def _changed_after(newest: float, stamp: Stamp | None) -> bool:
    return stamp is not None and stamp.modified_at.timestamp() > newest

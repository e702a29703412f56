"""What a run has to do: the recordings that are there, against those that the results hold."""

import os
import time
from collections.abc import Mapping, Sequence

from ser_batch.decoding import YOUNG_S, Stamp, Task, stamp_of
from ser_batch.errors import UsageError
from ser_batch.parts import Known
from ser_batch.recordings import Found, Recording, shown


def to_do(found: Found, known: Mapping[str, Known], retry_failed: bool) -> list[Task]:
    """The recordings that are new, may have changed, or are to be tried again; the youngest files last.

    Raises:
        UsageError: a recording would take the place of another one, found in another input.
    """
    tasks = []
    for recording in found.recordings:
        there, stamp = known.get(recording.recording_id), stamp_of(recording)
        if there is None:
            tasks.append(Task(recording, stamp))
            continue
        other = Recording(there.input_root, recording.path)
        if other.root != shown(recording.root) and os.path.exists(other.file):
            raise UsageError(
                f"{shown(recording.path)} is in the results already, as found in {other.root}, and is there still: "
                f"analyse the common folder of {other.root} and {shown(recording.root)}, or choose another --out"
            )
        if there.failed and retry_failed:
            tasks.append(Task(recording, stamp))
        elif stamp is None and not there.failed:
            continue  # gone, or out of reach for now: what was found in it stays
        elif not _same(stamp, there):
            tasks.append(Task(recording, stamp, there.content_hash))
    # Files that may still be growing are given time while the others are decoded.
    newest = time.time() - YOUNG_S
    return sorted(tasks, key=lambda task: task.stamp is not None and task.stamp.modified_at.timestamp() > newest)


def failed_before(found: Found, known: Mapping[str, Known], tasks: Sequence[Task]) -> int:
    """Recordings that failed in an earlier run and are left as they are."""
    again = {task.recording for task in tasks}
    there = (known.get(r.recording_id) for r in found.recordings if r not in again)
    return sum(1 for k in there if k and k.failed)


def _same(stamp: Stamp | None, known: Known) -> bool:
    """Whether a file looks as it did; None stands for one that is not there."""
    if stamp is None:
        return known.size_bytes is None
    return (stamp.size_bytes, stamp.modified_at) == (known.size_bytes, known.modified_at)

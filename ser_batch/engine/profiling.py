"""The profile of a place, from a sample of its recordings, before the first row."""

import threading
from collections.abc import Callable, Iterable, Sequence

from ser_batch.emotion.profile import Profile
from ser_batch.emotion.scorer import Scorer, Waveform
from ser_batch.engine.engine import Engine, Tick
from ser_batch.errors import DeviceMemoryError
from ser_batch.intervals import Interval, sample_index
from ser_batch.sources.source import Source
from ser_batch.speech.decoded import Decoded, Job, Outcome, Task

Speech = dict[str, dict[str, list[Waveform]]]
SAMPLE_RECORDINGS = 100
SAMPLE_BYTES = 256_000_000
"""No more recordings are drawn beyond this size.

Their waveforms are kept on disk until the profile is ready.
"""
FEW_RECORDINGS = 50
"""From fewer recordings, two segments each are used instead of one."""


def draw_profile(
    tasks: Sequence[Task],
    job: Job,
    engine: Engine,
    scorer: Scorer,
    stop: threading.Event,
    on_tick: Callable[[], None] = lambda: None,
) -> tuple[Profile | None, list[Outcome]]:
    """Decode a sample of recordings, and compute a profile from the speech in it.

    Which recordings are drawn depends only on their content. They need not be decoded
    again: their outcomes are returned and their waveforms kept. `on_tick` is called at
    least about once a second.

    Returns:
        The profile, or None if `stop` was set meanwhile; and the outcomes of the
        sample.
    """
    sample = sample_of(tasks, job.source)
    outcomes = []
    for outcome in engine.decode(sample, job, stop):
        on_tick()
        if not isinstance(outcome, Tick):
            outcomes.append(outcome)
    if stop.is_set():
        return None, outcomes
    speech = speech_of(outcomes, job, scorer.sample_rate)
    try:
        return scorer.profile_of(speech), outcomes
    except DeviceMemoryError:
        raise
    except Exception:
        return scorer.profile_of(_usable(speech, scorer)), outcomes


def without(tasks: Sequence[Task], outcomes: Iterable[Outcome]) -> list[Task]:
    """Return the tasks without an outcome."""
    done = {outcome.recording for outcome in outcomes}
    return [task for task in tasks if task.recording not in done]


def sample_of(tasks: Sequence[Task], source: Source) -> list[Task]:
    """Return the recordings of the sample, in an order given by their content."""
    keys = {task: source.content_key(task.recording) for task in tasks}
    ordered = sorted(tasks, key=lambda task: (keys[task], task.recording.path))
    sample: list[Task] = []
    n_bytes = 0
    for task in ordered[:SAMPLE_RECORDINGS]:
        if n_bytes > SAMPLE_BYTES:
            break
        n_bytes += task.stamp.size_bytes if task.stamp else 0
        sample.append(task)
    return sample


def speech_of(outcomes: Iterable[Outcome], job: Job, sample_rate: int) -> Speech:
    """Return waveforms of some segments, by role (empty for everyone) and recording.

    A recording whose waveforms cannot be read is skipped; it fails when it is scored.
    """
    decoded = [outcome for outcome in outcomes if isinstance(outcome, Decoded)]
    # In a fixed order, whichever process was faster, so that sums are bit-identical.
    decoded.sort(key=lambda outcome: outcome.recording.recording_id)
    n_segments = 2 if len(decoded) < FEW_RECORDINGS else 1
    speech: Speech = {}
    for outcome in decoded:
        recording_id = outcome.recording.recording_id
        for speaker in outcome.speakers:
            for interval in _spread(speaker.segments, n_segments):
                start = sample_index(interval.start_s, sample_rate)
                n = sample_index(interval.end_s, sample_rate) - start
                try:
                    waveform = job.waveforms.read(
                        recording_id, speaker.channel, start, n
                    )
                except Exception:
                    continue
                own = speech.setdefault(speaker.role or "", {})
                own.setdefault(recording_id, []).append(waveform)
    return speech


def _usable(speech: Speech, scorer: Scorer) -> Speech:
    """Return the speech without the recordings on which the model fails."""

    def works(role: str, recording_id: str, waveforms: list[Waveform]) -> bool:
        try:
            scorer.profile_of({role: {recording_id: waveforms}})
        except Exception:
            return False
        return True

    kept = {
        role: {name: own for name, own in recordings.items() if works(role, name, own)}
        for role, recordings in speech.items()
    }
    return {role: recordings for role, recordings in kept.items() if recordings}


def _spread(segments: Sequence[Interval], n: int) -> list[Interval]:
    """Return `n` evenly spaced segments, or all if there are fewer."""
    if len(segments) <= n:
        return list(segments)
    return [segments[len(segments) * (i + 1) // (n + 1)] for i in range(n)]

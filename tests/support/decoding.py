"""Tasks and jobs for decoding in tests."""

from collections.abc import Sequence
from pathlib import Path

from ser_batch.config.options import Config
from ser_batch.sources.local import LocalSource
from ser_batch.speech.decoded import Job, Task
from ser_batch.speech.waveforms import LocalWaveforms


def tasks_of(inputs: Sequence[str]) -> list[Task]:
    """Return a task for each recording of some inputs."""
    source = LocalSource()
    found = source.find(inputs)
    return [Task(recording, source.stamp(recording)) for recording in found.recordings]


def job_in(work: Path, config: Config | None = None) -> Job:
    """Return a job at 8 kHz that writes its waveforms to `work`."""
    return Job(config or Config(), 8000, LocalSource(), LocalWaveforms(work))

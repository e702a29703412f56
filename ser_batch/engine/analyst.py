"""What runs in each actor of a Ray cluster."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.profile import Profile
from ser_batch.engine.engine import Finished, Tick
from ser_batch.engine.stages import finished_recordings
from ser_batch.errors import UsageError
from ser_batch.speech.decoded import (
    Decoded,
    Job,
    Outcome,
    Task,
    out_of_memory,
    unexpected,
)
from ser_batch.speech.waveforms import LocalWaveforms, WorkspaceError

_PREFIX = "ser-actor-"


class Analyst:
    """What runs in an actor: a detector, a model, and a folder for waveforms."""

    def __init__(self, job: Job, profile: Profile | None) -> None:
        from ray.util.metrics import Counter

        from ser_batch.emotion.loading import load_scorer
        from ser_batch.speech.loading import load_diarizer, load_vad

        _clear_leftovers()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-")
        self._job = replace(job, waveforms=LocalWaveforms(Path(self._folder.name)))
        config = job.config
        self._models = load_vad(config.vad), load_diarizer(config)
        on_gpu = config.run.device.startswith("cuda")
        device = "cuda" if on_gpu else "cpu"
        self._scorer = load_scorer(config.score.bundle, device, profile)
        # Ray exports them for Prometheus, where it is set up to.
        self._recordings = Counter("ser_recordings", "By status.", ("status",))
        self._audio = Counter("ser_audio_seconds", "Length of what was analysed.")
        self._segments = Counter("ser_segments", "Segments that were scored.")

    def ready(self) -> str:
        """Return the name of the node, once everything is loaded."""
        return os.uname().nodename

    def close(self) -> None:
        """Remove the waveforms."""
        self._folder.cleanup()

    def analyse(self, task: Task) -> Finished | UsageError:
        """Return one recording with its scores; an error that is about the run."""
        finished = self._analysed(task)
        if isinstance(finished, Analysis):
            finished = replace(finished, node=os.uname().nodename)
            self._count(finished)
        return finished

    def _count(self, analysis: Analysis) -> None:
        status = "failed" if analysis.error else "done"
        self._recordings.inc(1, {"status": status})
        # Ray's counters refuse 0.
        if isinstance(analysis.outcome, Decoded) and analysis.outcome.duration_s > 0:
            self._audio.inc(analysis.outcome.duration_s)
        if analysis.segments:
            self._segments.inc(len(analysis.segments))

    def _analysed(self, task: Task) -> Finished | UsageError:
        from ser_batch.speech.decoding import decode

        try:
            outcome: Outcome = decode(task, self._job, *self._models)
        except WorkspaceError as error:
            return UsageError(f"{os.uname().nodename}: {error}", path=error.path)
        except MemoryError:
            outcome = out_of_memory(task)
        except Exception as error:
            outcome = unexpected(task.recording, "decoding", error)
        if not isinstance(outcome, Decoded):
            self._job.waveforms.remove(task.recording.recording_id)
        # The other cores have actors of their own.
        for finished in finished_recordings([outcome], self._job, self._scorer, 1):
            if not isinstance(finished, Tick):
                return finished
        raise AssertionError("the recording produced no analysis")


def _clear_leftovers() -> None:
    """Remove the waveforms of actors that were killed on this node."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)

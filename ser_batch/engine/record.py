"""The record of a run: `run.json`, and the events of its log."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ser_batch.config.options import Config
from ser_batch.config.structuring import FORMAT as CONFIG_FORMAT
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.scorer import ModelInfo
from ser_batch.engine.machine import peak_memory_bytes, versions
from ser_batch.engine.progress import Progress
from ser_batch.engine.runlog import RunLog
from ser_batch.sources.source import Recording
from ser_batch.speech.decoded import Decoded, Failed, Growing, Unchanged
from ser_batch.text import printable
from ser_batch.version import __version__


def run_record(
    inputs: Sequence[str], config: Config, model: ModelInfo, device: str | None
) -> dict[str, Any]:
    """Return the inputs, model, configuration and versions of a run, for `run.json`.

    `device` is None if there is nothing to score.
    """
    return {
        "ser_version": __version__,
        "started_at": datetime.now(UTC).isoformat(),
        "inputs": [printable(given) for given in inputs],
        "model": {
            "id": model.model_id,
            "labels": model.labels,
            "licence": model.licence,
            "answers": model.answers,
        },
        "config_format": CONFIG_FORMAT,
        "config": config.to_dict(),
        "config_hash": config.hash(),
        "device": device,
        "versions": versions(),
    }


class Journal:
    """Keeps the counts, `run.json` and the log of a run consistent."""

    def __init__(
        self,
        record: dict[str, Any],
        write_record: Callable[[dict[str, Any]], None],
        log: RunLog,
        progress: Progress,
    ) -> None:
        """`record` is that of `run_record`; `write_record` writes it to `run.json`."""
        self._record, self._write_record = record, write_record
        self._log, self.progress = log, progress

    def begin(self, out: str) -> None:
        """Record that the run has begun."""
        self._write({"finished_at": None})
        to_do = self.progress.pending
        self._log.write("run started", out=printable(out), to_do=to_do, **self._record)

    def count(self, finished: Analysis | Unchanged | Growing) -> None:
        """Count and log one more recording."""
        self.progress.count(finished)
        self._log.write("recording", **event_of(finished))

    def moved(self, recording: Recording) -> None:
        """Log a recording that was found at another location."""
        self._log.write(
            "moved", **_which(recording), location=printable(recording.location)
        )

    def copied(self, recording: Recording, original: str) -> None:
        """Count and log a copy, which is not analysed."""
        self.progress.copies += 1
        self._log.write("copy", **_which(recording), duplicate_of=original)

    def committed(self, n_recordings: int) -> None:
        """Log that rows have become live."""
        self._log.write("committed", recordings=n_recordings)

    def end(self, interrupted: bool) -> None:
        """Record how the run ended."""
        self.progress.interrupted = interrupted and self.progress.pending > 0
        end = {
            "finished_at": datetime.now(UTC).isoformat(),
            "interrupted": self.progress.interrupted,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        self._write(end)
        self._log.write("run finished", **end, **self.progress.counts())

    def _write(self, end: dict[str, Any]) -> None:
        self._write_record(self._record | end | {"counts": self.progress.counts()})


def _which(recording: Recording) -> dict[str, str]:
    return {
        "recording_id": recording.recording_id,
        "path": printable(recording.path),
    }


def event_of(outcome: Analysis | Unchanged | Growing) -> dict[str, Any]:
    """Return the log event of a recording."""
    event: dict[str, Any] = dict(_which(outcome.recording))
    if isinstance(outcome, Analysis) and outcome.node:
        event["node"] = outcome.node
    match outcome:
        case Unchanged():
            return event | {"status": "skipped"}
        case Growing():
            return event | {"status": "growing"}
        case Analysis(outcome=Failed() as failed):
            return event | {
                "status": "failed",
                "error": failed.error,
                "error_kind": failed.kind.value,
                "error_detail": failed.detail,
            }
        case _:
            decoded = outcome.outcome
            assert isinstance(decoded, Decoded)
            return event | {
                "status": "done",
                "duration_s": decoded.duration_s,
                "segments": len(outcome.segments),
            }

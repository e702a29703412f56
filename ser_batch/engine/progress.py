"""The counts of what a run has done so far.

They must add up: found = skipped + copies + done + failed + growing + pending.
"""

import time
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from ser_batch.emotion.analysis import Analysis
from ser_batch.errors import AccountingError
from ser_batch.sources.source import Recording
from ser_batch.speech.decoded import Decoded, Failed, Growing, Unchanged
from ser_batch.text import printable

MAX_FAILURES = 100


@dataclass
class Progress:
    """Counts of recordings, and what a display needs in addition."""

    found: int = 0
    ignored: int = 0
    """Files that are not audio."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that cannot be read."""
    skipped: int = 0
    """Recordings that are already in the results."""
    copies: int = 0
    """Recordings with the content of another one: not analysed, and not counted."""
    moved: int = 0
    """Skipped recordings whose rows got a new location."""
    failed_before: int = 0
    """Skipped recordings that failed in an earlier run."""
    done: int = 0
    failed: int = 0
    held: int = 0
    """Recordings in the results when the run began."""
    has_links: bool = True
    """Whether the results have generations, so that plain readers are never misled."""
    growing: int = 0
    """Recordings that are still being written; the next run analyses them."""
    without_roles: int = 0
    """Scored recordings with several speakers whose roles are unknown."""
    not_scored: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Recordings without any label, by the reason, and whether they are mono calls."""
    segments: int = 0
    audio_s: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of the first `MAX_FAILURES` failures."""
    sizes: dict[Recording, int] = field(default_factory=dict)
    """Size in bytes of each recording to be done."""
    total_bytes: int = 0
    finished_bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    interrupted: bool = False
    licence: str = ""
    """The licence of the model that scored."""

    @property
    def pending(self) -> int:
        """The number of recordings that this run has yet to do."""
        known = self.skipped + self.copies
        return self.found - known - self.done - self.failed - self.growing

    @property
    def elapsed_s(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float | None:
        """The estimated seconds left, from the bytes done so far; None if unknown."""
        if not self.finished_bytes:
            return None
        return (
            self.elapsed_s
            * (self.total_bytes - self.finished_bytes)
            / self.finished_bytes
        )

    def count(self, outcome: Analysis | Unchanged | Growing) -> None:
        """Count one more recording."""
        match outcome:
            case Unchanged():
                self.skipped += 1
            case Growing():
                self.growing += 1
            case Analysis(outcome=Failed() as failed):
                self.failed += 1
                if len(self.failures) < MAX_FAILURES:
                    self.failures.append(
                        (printable(failed.recording.path), failed.error)
                    )
            case Analysis(outcome=Decoded() as decoded):
                if reason := outcome.not_scored:
                    self.not_scored[reason, outcome.is_mono] += 1
                self.done += 1
                self.audio_s += decoded.duration_s
                self.segments += len(outcome.segments)
                nameless = all(own.role is None for own in decoded.speakers)
                scored = any(own.is_scored for own in decoded.speakers)
                self.without_roles += nameless and scored and len(decoded.speakers) > 1
        self.finished_bytes += self.sizes[outcome.recording]

    def check(self, found: Iterable[Recording], known: Container[str]) -> None:
        """Check that the counts add up and every recording done is in the results.

        Raises:
            AccountingError: a recording was lost on the way.
        """
        missing = sum(1 for recording in found if recording.recording_id not in known)
        excuse = self.pending + self.growing
        if (
            self.pending < 0
            or missing > excuse
            or (self.pending and not self.interrupted)
        ):
            raise AccountingError(
                f"the counts do not add up: {self.found} found, {self.done} done, "
                f"{self.failed} failed, {self.skipped} skipped, {self.copies} copies, "
                f"{self.growing} growing, {self.pending} pending, {missing} without a "
                "row. Please report this; running the same command again analyses what "
                "is missing"
            )

    def counts(self) -> dict[str, float]:
        """Return the counts as plain values."""
        names = (
            "found",
            "done",
            "failed",
            "skipped",
            "copies",
            "growing",
            "pending",
            "segments",
            "ignored",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "audio_s": round(self.audio_s, 3),
        }

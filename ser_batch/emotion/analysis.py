"""The analysis of one recording, when all its segments are scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ser_batch.emotion.answers import certainty
from ser_batch.emotion.pending import PendingSegment
from ser_batch.emotion.scorer import Scorer
from ser_batch.intervals import Interval, sample_index
from ser_batch.sources.source import Recording
from ser_batch.speech.decoded import Decoded, Failed, Speaker, unexpected
from ser_batch.speech.waveforms import Waveforms


@dataclass(frozen=True, slots=True)
class ScoredSegment:
    """One segment with its scores.

    `label` is None if the model abstains, or estimates dimensions only.
    """

    interval: Interval
    channel: int
    speaker: int | None
    role: str | None
    label: str | None
    confidence: float | None
    """The highest probability; None if the model has no labels."""
    probabilities: Mapping[str, float]
    level_dbfs: float
    values: Mapping[str, float]
    """What else the model estimates, 0 to 1; see `ScoredBatch`."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One recording: its decoded audio or its failure, and its scored segments.

    Segments are ordered by start, channel and speaker.
    """

    outcome: Decoded | Failed
    segments: list[ScoredSegment]
    node: str | None = None
    """The machine of a cluster that analysed it."""

    @property
    def recording(self) -> Recording:
        """The recording that was analysed."""
        return self.outcome.recording

    @property
    def path(self) -> str:
        """The recording's path relative to its input."""
        return self.recording.path

    @property
    def error(self) -> str | None:
        """Why the recording could not be analysed; None if it was."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def speakers(self) -> list[Speaker]:
        """The speakers with their speech; empty if the recording failed."""
        return self.outcome.speakers if isinstance(self.outcome, Decoded) else []

    @property
    def not_scored(self) -> str | None:
        """Why no segment has a label, as in `recordings.not_scored`.

        None if one has, and for failed recordings.
        """
        if self.segments:
            abstains = all(s.label is None and s.confidence for s in self.segments)
            return "abstained" if abstains else None
        if isinstance(self.outcome, Failed):
            return None
        speaking = [speaker for speaker in self.speakers if speaker.speech]
        if not speaking:
            return "no_speech"
        if not any(speaker.is_scored for speaker in self.speakers):
            return "speakers_unknown"
        if not any(speaker.is_scored for speaker in speaking):
            return "customer_silent"
        # Under roles, voices that could be the agent's are not scored.
        told_apart = self.outcome.diarization_confidence is not None
        return "voices_unclear" if told_apart else "too_short"

    @property
    def is_mono(self) -> bool:
        """Whether all speakers are on one channel."""
        return len({speaker.channel for speaker in self.speakers}) <= 1


def scored_segment(
    interval: Interval,
    speaker: Speaker,
    scorer: Scorer,
    abstain_below: float | None,
    probabilities: np.ndarray,
    level_dbfs: float,
    values: Mapping[str, float],
) -> ScoredSegment:
    """Return a segment with its scores, and a label if the model is sure enough."""
    label, confidence = None, None
    if scorer.labels:
        if abstain_below is None:
            abstain_below = scorer.abstain_below
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        (sure,) = certainty(probabilities[None], scorer.alike)
        label = None if sure < abstain_below else scorer.labels[best]
    return ScoredSegment(
        interval,
        speaker.channel,
        speaker.number,
        speaker.role,
        label,
        confidence,
        dict(zip(scorer.labels, map(float, probabilities), strict=True)),
        level_dbfs,
        values,
    )


class Assembly:
    """A decoded recording whose segments are being scored, in any order."""

    def __init__(
        self,
        decoded: Decoded,
        scorer: Scorer,
        abstain_below: float | None,
        waveforms: Waveforms,
    ) -> None:
        """If `abstain_below` is None, the model's own threshold applies."""
        self._decoded, self._scorer, self._waveforms = decoded, scorer, waveforms
        self._recording_id = decoded.recording.recording_id
        self._abstain_below = abstain_below
        self._segments = sorted(
            (interval, number)
            for number, speaker in enumerate(decoded.speakers)
            for interval in speaker.segments
        )
        self._scored: dict[int, ScoredSegment] = {}
        self._error: Exception | None = None

    @property
    def n_left(self) -> int:
        """The number of segments still to be scored."""
        return len(self._segments) - len(self._scored)

    def pending(self) -> list[PendingSegment]:
        """Return the segments to score; none if they cannot be prepared.

        The key of each is the recording id and the segment's number.
        """
        try:
            return self._pending()
        except Exception as error:
            self._error = error
            return []

    def _pending(self) -> list[PendingSegment]:
        by_speaker: dict[int, list[PendingSegment]] = {}
        for number, (interval, speaker) in enumerate(self._segments):
            start = sample_index(interval.start_s, self._scorer.sample_rate)
            n = sample_index(interval.end_s, self._scorer.sample_rate) - start
            channel = self._decoded.speakers[speaker].channel
            read = partial(self._read, channel, start, n)
            segment = PendingSegment((self._recording_id, number), n, read)
            by_speaker.setdefault(speaker, []).append(segment)
        ready = [
            segment
            for speaker, segments in by_speaker.items()
            for segment in self._scorer.with_context(
                segments, self._decoded.speakers[speaker].role
            )
        ]
        return sorted(ready, key=lambda segment: segment.key[1])

    def _read(self, channel: int, start: int, n: int) -> np.ndarray:
        """Return samples, or silence if they cannot be read.

        An error is kept for `finish`: other recordings are waiting in the same batch.
        """
        try:
            return self._waveforms.read(self._recording_id, channel, start, n)
        except Exception as error:
            self._error = error
            return np.zeros(n, np.float32)

    def add(
        self,
        number: int,
        probabilities: np.ndarray,
        level_dbfs: float,
        values: Mapping[str, float],
    ) -> None:
        """Add the scores of segment `number`."""
        interval, own = self._segments[number]
        if not np.isfinite([*probabilities, *values.values()]).all():
            self.fail(ArithmeticError("the model returns values that are not finite"))
        self._scored[number] = scored_segment(
            interval,
            self._decoded.speakers[own],
            self._scorer,
            self._abstain_below,
            probabilities,
            level_dbfs,
            values,
        )

    def fail(self, error: Exception) -> None:
        """Record that the recording cannot be scored; the first error is kept."""
        self._error = self._error or error

    def finish(self) -> Analysis:
        """Return the analysis of the recording, and remove its waveforms."""
        self._waveforms.remove(self._recording_id)
        if self._error is not None:
            failed = unexpected(self._decoded.recording, "scoring", self._error)
            return Analysis(failed, [])
        segments = [self._scored[number] for number in range(len(self._segments))]
        return Analysis(self._decoded, segments)

"""What is known of one recording once all its segments are scored, and the rows that say it."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser_batch import __version__
from ser_batch.decoding import Channel, Decoded, Failed
from ser_batch.inference import PendingSegment, Scorer
from ser_batch.manifest import Identity
from ser_batch.recordings import Recording, shown
from ser_batch.results import Rows
from ser_batch.timeline import Segment, overlap_s, samples, total_s


@dataclass(frozen=True, slots=True)
class ScoredSegment:
    """One segment with what the model says of it. `label` is None where the model abstains."""

    segment: Segment
    channel: int
    role: str | None
    label: str | None
    confidence: float
    probabilities: dict[str, float]
    loudness_dbfs: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that is known of one recording: `outcome` tells what its audio is, or why it failed.

    Segments are ordered by start and channel.
    """

    outcome: Decoded | Failed
    segments: list[ScoredSegment]

    @property
    def recording(self) -> Recording:
        return self.outcome.recording

    @property
    def path(self) -> str:
        """The path below the input in which the recording was found."""
        return self.recording.path

    @property
    def error(self) -> str | None:
        """Why the recording could not be analysed, or None if it was."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def channels(self) -> list[Channel]:
        """The channels with their speech; none if the recording failed."""
        return self.outcome.channels if isinstance(self.outcome, Decoded) else []


class Assembly:
    """A decoded recording whose segments are being scored, in any order."""

    def __init__(self, decoded: Decoded, scorer: Scorer, abstain_below: float | None, work: Path) -> None:
        self._decoded, self._scorer, self._bundle = decoded, scorer, scorer.bundle
        self._folder = work / decoded.recording.recording_id
        self._abstain_below = self._bundle.calibration.abstain_below if abstain_below is None else abstain_below
        self._segments = sorted((s, number) for number, c in enumerate(decoded.channels) for s in c.segments)
        self._scored: dict[int, ScoredSegment] = {}

    @property
    def left(self) -> int:
        """Segments that are still to be scored."""
        return len(self._segments) - len(self._scored)

    def items(self) -> Iterator[PendingSegment]:
        """The segments to score; each has the recording's id and its own number for a key."""
        contexts = {channel: self._context(channel) for channel in {channel for _, channel in self._segments}}
        for number, (segment, channel) in enumerate(self._segments):
            start, n = self._place(segment)
            read = partial(_read_samples, self._file(channel), start, n)
            context = None
            if self._bundle.features.context_s:
                nothing = torch.zeros(1 + 2 * self._bundle.features.n_static)
                context = sum((t for other, t in contexts[channel].items() if other != segment), nothing)
            yield PendingSegment((self._decoded.recording.recording_id, number), n, read, context)

    def _context(self, channel: int) -> dict[Segment, Tensor]:
        """What a channel's first segments tell of its speaker, until they last for as long as the model asks for."""
        left = round(self._bundle.features.context_s * self._bundle.features.sample_rate)
        known = {}
        for segment in self._decoded.channels[channel].segments:
            start, n = self._place(segment)
            if left <= 0:
                break
            known[segment] = self._scorer.sums(_read_samples(self._file(channel), start, min(n, left)))
            left -= n
        return known

    def _place(self, segment: Segment) -> tuple[int, int]:
        """Where a segment begins, and how long it is, in samples of the model's rate."""
        sample_rate = self._bundle.features.sample_rate
        start = samples(segment.start_s, sample_rate)
        return start, samples(segment.end_s, sample_rate) - start

    def _file(self, channel: int) -> Path:
        file = self._decoded.channels[channel].waveform
        assert file is not None
        return file

    def add(self, number: int, probabilities: np.ndarray, loudness_dbfs: float) -> None:
        """Takes what the model says of segment `number`."""
        segment, channel = self._segments[number]
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        self._scored[number] = ScoredSegment(
            segment,
            channel,
            self._decoded.channels[channel].role,
            self._bundle.labels[best] if confidence >= self._abstain_below else None,
            confidence,
            dict(zip(self._bundle.labels, map(float, probabilities), strict=True)),
            loudness_dbfs,
        )

    def finish(self) -> Analysis:
        """The whole recording; its waveforms are removed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return Analysis(self._decoded, [self._scored[i] for i in range(len(self._segments))])


def _read_samples(file: Path, start: int, n: int) -> np.ndarray:
    """`n` samples; where resampling has ended a sample early, silence stands for it."""
    read = np.fromfile(file, np.float32, n, offset=4 * start)
    return np.pad(read, (0, n - len(read)))


def rows(analysis: Analysis, identity: Identity) -> Rows:
    """The rows of one recording for all tables."""
    outcome = analysis.outcome
    recording, stamp = outcome.recording, outcome.stamp
    path = shown(recording.path)
    row: dict[str, Any] = {
        "recording_id": recording.recording_id,
        "path": path,
        "input_root": shown(recording.root),
        "size_bytes": stamp.size_bytes if stamp else None,
        "modified_at": stamp.modified_at if stamp else None,
        "content_hash": outcome.content_hash,
        "status": "done" if isinstance(outcome, Decoded) else "failed",
        "error": analysis.error,
        "segments": len(analysis.segments),
        "model_id": identity.model_id,
        "config_hash": identity.config_hash,
        "ser_version": __version__,
        "analyzed_at": datetime.now(UTC),
    }
    if isinstance(outcome, Failed):
        return Rows(row, {}, {})
    tracks = [channel.speech for channel in outcome.channels]
    roles = [channel.role for channel in outcome.channels]
    everyone = [segment for track in tracks for segment in track]
    row |= {
        "codec": outcome.codec,
        "sample_rate_hz": outcome.sample_rate,
        "channels": outcome.file_channels,
        "duration_s": outcome.duration_s,
        "notes": "; ".join(outcome.notes) or None,
        "channel_talk_s": [total_s(track) for track in tracks],
        "silence_s": max(0.0, outcome.duration_s - total_s(everyone)),
        "overtalk_s": overlap_s(tracks),
    }
    for role in ("agent", "customer"):
        own = [segment for track, name in zip(tracks, roles, strict=True) for segment in track if name == role]
        row[f"{role}_talk_s"] = total_s(own) if role in roles else None
    spoken = [(number, channel.role, s) for number, channel in enumerate(outcome.channels) for s in channel.speech]
    scored = analysis.segments
    speech: dict[str, Sequence[Any]] = {
        "recording_id": [recording.recording_id] * len(spoken),
        "channel": [number for number, _, _ in spoken],
        "role": [role for _, role, _ in spoken],
        "start_s": [s.start_s for _, _, s in spoken],
        "end_s": [s.end_s for _, _, s in spoken],
    }
    segments: dict[str, Sequence[Any]] = {
        "recording_id": [recording.recording_id] * len(scored),
        "path": [path] * len(scored),
        "channel": [s.channel for s in scored],
        "role": [s.role for s in scored],
        "segment": list(range(len(scored))),
        "start_s": [s.segment.start_s for s in scored],
        "end_s": [s.segment.end_s for s in scored],
        "label": [s.label for s in scored],
        "confidence": [s.confidence for s in scored],
        **{f"p_{label}": [s.probabilities[label] for s in scored] for label in identity.labels},
        "loudness_dbfs": [s.loudness_dbfs for s in scored],
    }
    return Rows(row, speech, segments)

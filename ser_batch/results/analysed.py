"""One analysed recording, as rows of the three tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ser_batch.emotion.analysis import Analysis, ScoredSegment
from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.intervals import Interval, divided, overlap_s, total_s
from ser_batch.results.manifest import Identity
from ser_batch.results.matching import Copy
from ser_batch.results.rows import Columns, Rows, check_types
from ser_batch.sources.source import Recording, Stamp
from ser_batch.speech.decoded import Decoded, Failed, Speaker, unexpected
from ser_batch.text import printable
from ser_batch.version import __version__


def result_rows(analysis: Analysis, identity: Identity) -> Rows:
    """Return the rows of one recording."""
    outcome = analysis.outcome
    row = _recording_row(analysis, identity)
    if isinstance(outcome, Failed):
        failure = {
            "error": outcome.error,
            "error_kind": outcome.kind.value,
            "error_detail": outcome.detail,
        }
        return Rows(row | failure, {}, {})
    recording_id = outcome.recording.recording_id
    return Rows(
        row | _timing(outcome) | {"not_scored": analysis.not_scored},
        _speech_columns(recording_id, outcome.speakers),
        _segment_columns(recording_id, row["path"], analysis.segments, identity.labels),
    )


def rows_or_failure(analysis: Analysis, identity: Identity) -> tuple[Analysis, Rows]:
    """Return the recording and its rows; its failure if they cannot be written."""
    try:
        rows = result_rows(analysis, identity)
        check_types(rows, identity.labels)
        return analysis, rows
    except Exception as error:
        failed = Analysis(unexpected(analysis.recording, "writing", error), [])
        return failed, result_rows(failed, identity)


def copy_row(copy: Copy, identity: Identity) -> Rows:
    """Return the row of a recording that is a copy of another."""
    row = {
        **_location_columns(copy.recording, copy.stamp),
        "duplicate_of": copy.original,
        "content_hash": copy.content_hash,
        "status": "duplicate",
        **_made_by(identity),
    }
    return Rows(row, {}, {})


def moved_columns(recording: Recording, stamp: Stamp | None) -> dict[str, Any]:
    """Return the columns that change when a recording has moved."""
    place = _location_columns(recording, stamp)
    del place["recording_id"]
    return place


def stamp_columns(stamp: Stamp | None) -> dict[str, Any]:
    """Return the columns for a file's size and modification time."""
    return {
        "size_bytes": stamp.size_bytes if stamp else None,
        "modified_at": stamp.modified_at if stamp else None,
        "etag": (stamp.etag or None) if stamp else None,
    }


def _location_columns(recording: Recording, stamp: Stamp | None) -> dict[str, Any]:
    return {
        "recording_id": recording.recording_id,
        "path": printable(recording.path),
        "input_root": printable(recording.root),
        "location": printable(recording.location),
        **stamp_columns(stamp),
    }


def _made_by(identity: Identity) -> dict[str, Any]:
    return {
        "model_id": identity.model_id,
        "config_hash": identity.row_hash,
        "ser_version": __version__,
        "analyzed_at": datetime.now(UTC),
    }


def _recording_row(analysis: Analysis, identity: Identity) -> dict[str, Any]:
    outcome = analysis.outcome
    return {
        **_location_columns(outcome.recording, outcome.stamp),
        "content_hash": outcome.content_hash,
        "status": "done" if isinstance(outcome, Decoded) else "failed",
        "segments": len(analysis.segments),
        "out_of_domain": _out_of_domain(analysis.segments),
        **_made_by(identity),
    }


def _out_of_domain(segments: Sequence[ScoredSegment]) -> float | None:
    """Return the mean over scored time; None if the model does not estimate it."""
    known = [s for s in segments if "out_of_domain" in s.values]
    total = sum(s.interval.duration_s for s in known)
    if not total:
        return None
    weighed = (s.interval.duration_s * s.values["out_of_domain"] for s in known)
    return sum(weighed) / total


def _timing(decoded: Decoded) -> dict[str, Any]:
    tracks = [speaker.speech for speaker in decoded.speakers]
    everyone = [interval for track in tracks for interval in track]
    channels: dict[int, list[Interval]] = {}
    for speaker in decoded.speakers:
        channels.setdefault(speaker.channel, []).extend(speaker.speech)
    return {
        "codec": decoded.codec,
        "sample_rate_hz": decoded.sample_rate,
        "channels": decoded.file_channels,
        "duration_s": decoded.duration_s,
        "notes": "; ".join(decoded.notes) or None,
        "channel_talk_s": [total_s(speech) for speech in channels.values()],
        "level_curves": decoded.level_curves,
        "silence_s": max(0.0, decoded.duration_s - total_s(everyone)),
        # Within one channel, most speech of both at once is not found.
        "overtalk_s": overlap_s(tracks)
        if decoded.diarization_confidence is None
        else None,
        "agent_talk_s": _talk_s(decoded.speakers, "agent"),
        "customer_talk_s": _talk_s(decoded.speakers, "customer"),
        "diarization_confidence": decoded.diarization_confidence,
    }


def _talk_s(speakers: Sequence[Speaker], role: str) -> float | None:
    """Return how long a role speaks; None if no speaker has that role."""
    own = [speaker for speaker in speakers if speaker.role == role]
    if not own:
        return None
    return total_s(interval for speaker in own for interval in speaker.speech)


def _speech_columns(recording_id: str, speakers: Sequence[Speaker]) -> Columns:
    regions = [
        (speaker, *piece)
        for speaker in speakers
        for interval in speaker.speech
        for piece in divided(interval, speaker.overlap)
    ]
    return {
        "recording_id": [recording_id] * len(regions),
        "channel": [speaker.channel for speaker, *_ in regions],
        "speaker": [speaker.number for speaker, *_ in regions],
        "role": [speaker.role for speaker, *_ in regions],
        "start_s": [interval.start_s for _, interval, _ in regions],
        "end_s": [interval.end_s for _, interval, _ in regions],
        "overlap": [is_overlap for *_, is_overlap in regions],
    }


def _segment_columns(
    recording_id: str,
    path: str,
    segments: Sequence[ScoredSegment],
    labels: Sequence[str],
) -> Columns:
    return {
        "recording_id": [recording_id] * len(segments),
        "path": [path] * len(segments),
        "channel": [s.channel for s in segments],
        "speaker": [s.speaker for s in segments],
        "role": [s.role for s in segments],
        "segment": list(range(len(segments))),
        "start_s": [s.interval.start_s for s in segments],
        "end_s": [s.interval.end_s for s in segments],
        "label": [s.label for s in segments],
        "confidence": [s.confidence for s in segments],
        **{
            f"p_{label}": [s.probabilities[label] for s in segments] for label in labels
        },
        "level_dbfs": [s.level_dbfs for s in segments],
        **{name: [s.values.get(name) for s in segments] for name in DIMENSIONS},
    }

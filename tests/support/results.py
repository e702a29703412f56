"""Handmade results: timelines with known measures."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.intervals import Interval, overlap_s, total_s, union
from ser_batch.results.manifest import Identity
from ser_batch.results.rows import Rows
from ser_batch.results.writing import open_writer

LABELS = ("neutral", "happy", "angry", "fearful")
IDENTITY = Identity("m@1", "c", LABELS)
Span = tuple[float, float]
Scored = tuple[float, float, dict[str, float]]
FIRST = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def call(
    path: str,
    agent: Sequence[Span] = (),
    customer: Sequence[Span] = (),
    scored: Sequence[Scored] = (),
    duration_s: float = 100.0,
    roles: Sequence[str | None] = ("agent", "customer"),
    error: str | None = None,
    error_detail: str | None = None,
    day: int = 0,
    input_root: str = "/in",
    scored_role: str = "customer",
) -> Rows:
    """Return the rows of a call.

    If neither agent nor customer is given, the scored segments are also the speech. A
    label is set where a probability is above 0.4. Probability that `scored` does not
    assign is neutral.
    """
    recording_id = hashlib.sha256(path.encode()).hexdigest()[:16]
    channel = 1 if scored_role == "customer" and len(roles) > 1 else 0
    tracks = [[Interval(*span) for span in spans] for spans in (agent, customer)][
        : len(roles)
    ]
    if not agent and not customer:
        tracks[channel] = union(
            Interval(start_s, end_s) for start_s, end_s, _ in scored
        )
    talk = [total_s(track) for track in tracks]
    named = roles[0] is not None
    row: dict[str, Any] = {
        "recording_id": recording_id, "path": path, "input_root": input_root,
        "size_bytes": 1, "location": f"{input_root}/{path}", "content_hash": "x",
        "modified_at": FIRST + timedelta(days=day),
        "status": "failed" if error else "done", "error": error,
        "error_detail": error_detail, "out_of_domain": None,
        "not_scored": None if error or scored else "no_speech",
    }  # fmt: skip
    if not error:
        row |= {
            "duration_s": duration_s, "channels": len(roles),
            "channel_talk_s": talk, "segments": len(scored),
            "silence_s": duration_s - total_s([s for track in tracks for s in track]),
            "overtalk_s": overlap_s(tracks),
            **({"agent_talk_s": talk[0], "customer_talk_s": talk[1]} if named else {}),
        }  # fmt: skip
    regions = sorted(
        (s.start_s, s.end_s, c) for c, track in enumerate(tracks) for s in track
    )
    speech = {
        "recording_id": [recording_id] * len(regions),
        "channel": [c for _, _, c in regions],
        "speaker": [None] * len(regions),
        "role": [roles[c] for _, _, c in regions],
        "start_s": [a for a, _, _ in regions],
        "end_s": [b for _, b, _ in regions],
        "overlap": [False] * len(regions),
    }
    every = [
        {**dict.fromkeys(LABELS, 0.0), "neutral": 1 - sum(p.values()), **p}
        for _, _, p in scored
    ]
    best = [max(p, key=lambda label: p[label]) for p in every]
    n = len(scored)
    segments = {
        "recording_id": [recording_id] * n, "path": [path] * n,
        "channel": [channel] * n, "speaker": [None] * n, "role": [roles[channel]] * n,
        "segment": list(range(n)),
        "start_s": [s[0] for s in scored], "end_s": [s[1] for s in scored],
        "label": [
            label if p[label] > 0.4 else None
            for p, label in zip(every, best, strict=True)
        ],
        "confidence": [p[label] for p, label in zip(every, best, strict=True)],
        **{f"p_{label}": [p[label] for p in every] for label in LABELS},
        "level_dbfs": [-20.0] * n,
        **{name: [None] * n for name in DIMENSIONS},
    }  # fmt: skip
    return Rows(
        row,
        speech if regions and not error else {},
        segments if n and not error else {},
    )


def write_results(
    directory: Path, *calls: Rows, identity: Identity = IDENTITY, parts: int = 1
) -> Path:
    """Write a results directory with these calls, in `parts` commits."""
    with open_writer(directory, identity) as writer:
        for i in range(parts):
            for rows in calls[i::parts]:
                writer.add(rows)
            writer.commit()
    return directory

"""Results tables to figures: the portfolio, the recordings most worth listening to, the failures. Pure."""

import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_batch.results import read_tables

DISTRESS = ("angry", "fearful", "disgust")
"""The negative emotions of high arousal (Russell's circumplex, 1980): what a caller in trouble sounds like."""
MOMENTS = 3
TIMELINE_PARTS = 24


@dataclass(frozen=True, slots=True)
class Moment:
    """A segment worth listening to. `distress` is the probability of any emotion in `DISTRESS`."""

    start_s: float
    end_s: float
    channel: int
    role: str | None
    label: str | None
    distress: float


@dataclass(frozen=True, slots=True)
class RankedRecording:
    """A recording with its strongest moments, the strongest first."""

    path: str
    duration_s: float
    distress: float
    """The mean distress of its moments, weighted by their length."""
    moments: list[Moment]
    timeline: list[float | None]
    """The highest distress in each of `TIMELINE_PARTS` equal parts of the call; None where nothing was scored."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What `ser report` tells.

    `emotions` are the mean probabilities of the scored segments, weighted by their length: they sum to 1.
    `abstained` is the share of scored time in which the model gave no label.
    """

    recordings: int
    done: int
    failed: int
    audio_h: float
    talk_h: float
    scored_h: float
    segments: int
    abstained: float | None
    emotions: dict[str, float]
    ranked: list[RankedRecording]
    failures: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def summarize(directory: Path, top: int = 20) -> Summary:
    """Summarizes the live rows of a results directory; `top` calls at most are listed.

    Raises:
        ResultsError: the directory holds no results, or they are damaged.
    """
    tables = read_tables(directory, {"recordings": None, "segments": None})
    recordings, segments = tables["recordings"].to_pandas(), tables["segments"].to_pandas()
    done, failed = recordings[recordings.status == "done"], recordings[recordings.status == "failed"]
    probabilities = segments.filter(regex="^p_")
    length_s = (segments.end_s - segments.start_s).to_numpy()
    scored_s = float(length_s.sum())
    means = probabilities.mul(length_s, axis=0).sum() / scored_s if scored_s else probabilities.sum() * np.nan
    talk_s = done.channel_talk_s.map(np.sum).sum()
    return Summary(
        recordings=len(recordings),
        done=len(done),
        failed=len(failed),
        audio_h=float(done.duration_s.sum()) / 3600,
        talk_h=float(talk_s) / 3600,
        scored_h=scored_s / 3600,
        segments=len(segments),
        abstained=float(length_s[segments.label.isna()].sum() / scored_s) if scored_s else None,
        emotions={name.removeprefix("p_"): float(p) for name, p in means.items()} if scored_s else {},
        ranked=rank_recordings(done, segments, top),
        failures=failed.sort_values("path")[["path", "error"]].to_dict("records"),
    )


def rank_recordings(done: pd.DataFrame, segments: pd.DataFrame, top: int) -> list[RankedRecording]:
    """The recordings with the strongest distress: for each, the mean over its strongest `MOMENTS` segments."""
    columns = [f"p_{label}" for label in DISTRESS if f"p_{label}" in segments]
    ranked = segments.assign(distress=segments[columns].sum(axis=1), length_s=segments.end_s - segments.start_s)
    ranked = ranked.sort_values(["distress", "start_s"], ascending=[False, True], kind="stable")
    strongest = ranked.groupby("recording_id", sort=False).head(MOMENTS)
    weighted = (strongest.distress * strongest.length_s).groupby(strongest.recording_id).sum()
    score = (weighted / strongest.length_s.groupby(strongest.recording_id).sum()).rename("score")
    calls = done.set_index("recording_id").join(score, how="inner")
    calls = calls.sort_values(["score", "path"], ascending=[False, True]).head(top)
    moments = {recording_id: own.to_dict("records") for recording_id, own in strongest.groupby("recording_id")}
    all_segments = dict(list(ranked[ranked.recording_id.isin(calls.index)].groupby("recording_id")))
    return [
        RankedRecording(
            call["path"],
            call["duration_s"],
            call["score"],
            [_moment(m) for m in moments[call["recording_id"]]],
            _timeline(all_segments[call["recording_id"]], call["duration_s"]),
        )
        for call in calls.reset_index().to_dict("records")
    ]


def _timeline(segments: pd.DataFrame, duration_s: float) -> list[float | None]:
    parts: list[float | None] = [None] * TIMELINE_PARTS
    spans = segments[["start_s", "end_s", "distress"]].itertuples(index=False, name=None)
    for start_s, end_s, distress in spans:
        first = int(start_s / duration_s * TIMELINE_PARTS)
        last = min(math.ceil(end_s / duration_s * TIMELINE_PARTS), TIMELINE_PARTS)
        for part in range(first, last):
            parts[part] = max(parts[part] or 0.0, distress)
    return parts


def _moment(row: dict[Hashable, Any]) -> Moment:
    role, label = (value if isinstance(value, str) else None for value in (row["role"], row["label"]))
    return Moment(row["start_s"], row["end_s"], row["channel"], role, label, row["distress"])

"""A call as it went: who spoke when, how it sounded, and what is worth listening to, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from ser_batch.manifest import read_manifest
from ser_batch.report.database import rows_of, scan
from ser_batch.report.measures import CUT_IN_S, DISTRESS, HOLD_S

PARTS_AT_ONCE = 4
EPISODE = ("emotion", "start_s", "end_s", "channel", "role", "peak", "mean", "scored_s")
FAINT = 0.25
"""A probability of distress that is not worth listening to."""
MOMENTS = 3
"""How many moments a call is listed with."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored segment. `distress` is the probability of any emotion in `DISTRESS`; None where the model has none."""

    start_s: float
    end_s: float
    channel: int
    role: str | None
    label: str | None
    probabilities: tuple[float, ...]
    distress: float | None


@dataclass(frozen=True, slots=True)
class Episode:
    """Sustained distress, anger or fear; `peak` and `mean` are of its probability."""

    emotion: str
    start_s: float
    end_s: float
    channel: int
    role: str | None
    peak: float
    mean: float
    scored_s: float


@dataclass(frozen=True, slots=True)
class Interruption:
    """`by` cut in on `whom` (channels) at `start_s`, and both spoke for `overlap_s`."""

    start_s: float
    by: int
    whom: int
    overlap_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A time worth listening to, and why. `weight` is in seconds of distress."""

    start_s: float
    end_s: float
    channel: int | None
    role: str | None
    label: str | None
    distress: float | None
    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recording: its row of `calls`, and all that happens in it, in the order of time."""

    call: dict[str, Any]
    speech: dict[int, list[tuple[float, float]]]
    """Regions of each channel."""
    roles: dict[int, str | None]
    segments: list[Scored] = field(repr=False)
    episodes: list[Episode] = field(repr=False)
    interruptions: list[Interruption] = field(repr=False)
    silences: list[tuple[float, float]]
    """Those of `HOLD_S` or more in which nobody speaks."""

    def who(self, channel: int | None) -> str:
        """A channel's role, or its number where it has none."""
        if channel is None:
            return "nobody"
        return self.roles.get(channel) or f"channel {channel}"

    def moments(self, n: int = MOMENTS) -> list[Moment]:
        """The `n` moments of most weight: episodes, an escalation, single strong segments, long silences.

        The weight of what sounds is its probability of distress times its scored length, in seconds; that of an
        escalation is the rise of distress times the scored length of the last quarter; a silence weighs a
        twentieth of its length. A segment within an episode is no moment of its own, and one below `FAINT` is none at
        all, but for the strongest of a call in which there is nothing else.
        """
        sustained = [e for e in self.episodes if e.emotion == "distress"]
        found = [self._of_episode(episode) for episode in sustained]
        found += self._escalation()
        for s in self.segments:
            inside = any(e.channel == s.channel and e.start_s <= s.start_s < e.end_s for e in sustained)
            if s.distress is not None and not inside:
                weight = s.distress * (s.end_s - s.start_s)
                reason = f"{s.label or 'unsure of the emotion'}, distress {s.distress:.2f}"
                found.append(Moment(s.start_s, s.end_s, s.channel, s.role, s.label, s.distress, weight, reason))
        for start_s, end_s in self.silences:
            length_s = end_s - start_s
            reason = f"{length_s:.0f} s in which nobody speaks"
            found.append(Moment(start_s, end_s, None, None, None, None, length_s / 20, reason))
        found.sort(key=lambda m: (-m.weight, m.start_s))
        loud = [m for m in found if m.distress is None or m.distress >= FAINT]
        return loud[:n] or found[:1]

    def _of_episode(self, episode: Episode) -> Moment:
        """Named after the anger or fear in it that lasts longest, if there is any."""
        inside = [
            e
            for e in self.episodes
            if e.emotion != "distress" and e.channel == episode.channel
            and e.start_s < episode.end_s and episode.start_s < e.end_s
        ]  # fmt: skip
        named = max(inside, key=lambda e: e.scored_s, default=episode)
        name = {"angry": "anger", "fearful": "fear"}.get(named.emotion, "distress")
        return Moment(
            episode.start_s, episode.end_s, episode.channel, episode.role, None if named is episode else named.emotion,
            episode.mean, episode.mean * episode.scored_s,
            f"{name} for {named.end_s - named.start_s:.0f} s, up to {named.peak:.2f}",
        )  # fmt: skip

    def _escalation(self) -> list[Moment]:
        call = self.call
        late = [s for s in self.segments if (s.start_s + s.end_s) / 2 >= 0.75 * (call["duration_s"] or 0)]
        if not call["escalated"] or not late:
            return []
        first, last = (call[f"q{q}_distress_s"] / call[f"q{q}_scored_s"] for q in (1, 4))
        weight, reason = (
            (last - first) * call["q4_scored_s"],
            f"begins calm and ends in distress: {first:.2f} to {last:.2f}",
        )
        return [Moment(late[0].start_s, late[-1].end_s, late[0].channel, late[0].role, None, last, weight, reason)]


def all_timelines(
    connection: duckdb.DuckDBPyConnection, directory: Path, role: str | None = "customer"
) -> Iterator[Timeline]:
    """The timelines of all recordings in `calls`, some parts at a time: memory is bounded, each file is read once."""
    parts = list(read_manifest(directory).parts)
    for i in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[i : i + PARTS_AT_ONCE]
        found = f"SELECT recording_id FROM {scan(directory, 'recordings', some)} SEMI JOIN calls USING (recording_id)"
        ids = [row[0] for row in connection.execute(f"{found} ORDER BY path").fetchall()]
        yield from read_timelines(connection, directory, ids, role, some)


def read_timelines(
    connection: duckdb.DuckDBPyConnection,
    directory: Path,
    recording_ids: Sequence[str],
    role: str | None = "customer",
    parts: Sequence[str] | None = None,
) -> Iterator[Timeline]:
    """The timelines of some recordings in `calls`, in the order given.

    `role` is whose segments they have, None for everyone's; `parts` are those that hold them, if known.
    """
    manifest = read_manifest(directory)
    labels, parts = manifest.identity.labels, list(manifest.parts) if parts is None else parts
    ids = list(recording_ids)
    if not ids:
        return

    def grouped(rows: str, order: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of these recordings, by recording."""
        found: dict[str, list[dict[str, Any]]] = {recording_id: [] for recording_id in ids}
        query = f"SELECT * FROM {rows} WHERE recording_id IN (SELECT unnest($ids)) ORDER BY {order}"
        for row in rows_of(connection, query, {"ids": ids}):
            found[row["recording_id"]].append(row)
        return found

    calls, episodes = grouped("calls", "path"), grouped("episodes", "start_s, emotion")
    speech, segments = (grouped(scan(directory, t, parts), "start_s, end_s, channel") for t in ("speech", "segments"))
    for recording_id in ids:
        (call,), regions = calls[recording_id], speech[recording_id]
        own = [s for s in segments[recording_id] if role is None or s["role"] in _heard_as(role)]
        tracks: dict[int, list[tuple[float, float]]] = {}
        for region in regions:
            tracks.setdefault(region["channel"], []).append((region["start_s"], region["end_s"]))
        events = [(r["start_s"], r["end_s"], r["channel"]) for r in regions]
        yield Timeline(
            call,
            dict(sorted(tracks.items())),
            {region["channel"]: region["role"] for region in regions},
            [_scored(row, labels) for row in own],
            [Episode(**{key: e[key] for key in EPISODE}) for e in episodes[recording_id]],
            interruptions(events),
            silences(events, call["duration_s"] or 0.0),
        )


def _heard_as(role: str) -> tuple[str | None, ...]:
    """The roles whose segments count as this one's: where nobody named roles, everyone is a customer."""
    return (role, None) if role == "customer" else (role,)


def interruptions(regions: Sequence[tuple[float, float, int]]) -> list[Interruption]:
    """Who cut in on whom: (start_s, end_s, channel) of all regions, ordered by start. See `measures`."""
    found, until_us, holder = [], 0, None
    for start_s, end_s, channel in regions:
        start_us, end_us = round(start_s * 1e6), round(end_s * 1e6)
        if holder is None or end_us > until_us:
            overlap_s = (until_us - start_us) / 1e6
            if holder not in (None, channel) and overlap_s >= CUT_IN_S:
                found.append(Interruption(start_s, channel, holder, overlap_s))
            until_us, holder = end_us, channel
    return found


def silences(
    regions: Sequence[tuple[float, float, int]], duration_s: float, least_s: float = HOLD_S
) -> list[tuple[float, float]]:
    """The stretches of `least_s` or more in which no channel speaks."""
    found, until_s = [], 0.0
    for start_s, end_s, _ in [*regions, (duration_s, duration_s, 0)]:
        if start_s - until_s >= least_s:
            found.append((until_s, start_s))
        until_s = max(until_s, end_s)
    return found


def _scored(row: dict[str, Any], labels: Sequence[str]) -> Scored:
    p = tuple(row[f"p_{label}"] for label in labels)
    negative = [row[f"p_{label}"] for label in DISTRESS if label in labels]
    distress = sum(negative) if negative else None
    return Scored(row["start_s"], row["end_s"], row["channel"], row["role"], row["label"], p, distress)

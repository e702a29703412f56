"""Reading of call timelines from results: some of them, or all in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import duckdb

from ser_batch.emotion.answers import DISTRESS
from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.errors import UsageError
from ser_batch.reporting.figures.database import rows_of, scan_sql
from ser_batch.reporting.figures.sides import sides_sql
from ser_batch.reporting.figures.timelines import Episode, Scored, Timeline
from ser_batch.reporting.figures.turns import HOLD_S, TalkOver, turns_sql
from ser_batch.results.results import Results
from ser_batch.text import EXAMPLES, counted_examples, printable

PARTS_AT_ONCE = 4
EPISODE = ("emotion", "start_s", "end_s", "channel", "role", "peak", "mean", "scored_s")


ALIKE = 0.75
"""Jaro-Winkler similarity of names that may be mistaken for each other."""


def find_call(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the id of the recording with this id, path, end of a path, or part of it.

    Raises:
        UsageError: none or several in `calls` match.
    """
    found: list[tuple[str, str]] = []
    for fits in (
        "recording_id = $1 OR path = $1",
        "ends_with(path, '/' || $1)",
        "parse_filename(path, true) = $1",
        "$1 != '' AND contains(path, $1)",
    ):
        query = f"SELECT recording_id, path FROM calls WHERE {fits} ORDER BY path"
        found = found or connection.execute(query, [name]).fetchall()
    if len(found) == 1:
        return found[0][0]
    if found:
        some = counted_examples([path for _, path in found], "call")
        which = f"matches {some}; give the full path"
    else:
        which = "no such call in these results" + _similar(connection, name)
    raise UsageError(f"--call {name}: {which}", option="--call")


def _similar(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return a question with the calls of similar names; empty if there are none."""
    alike = "jaro_winkler_similarity(parse_filename(path, true), $1)"
    query = (
        f"SELECT path FROM calls WHERE {alike} >= {ALIKE} "
        f"ORDER BY {alike} DESC, path LIMIT {EXAMPLES}"
    )
    rows = connection.execute(query, [PurePath(name).stem]).fetchall()
    close = " or ".join(printable(path) for (path,) in rows)
    return f"; did you mean {close}?" if close else ""


def all_timelines(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    role: str | None = "customer",
    with_levels: bool = False,
) -> Iterator[Timeline]:
    """Yield the timelines of all recordings in `calls`, with levels only if asked to.

    A few parts are read at a time: memory is bounded, and each file is read once.
    """
    for i in range(0, len(results.parts), PARTS_AT_ONCE):
        some = results.parts[i : i + PARTS_AT_ONCE]
        found = (
            f"SELECT recording_id FROM {scan_sql(results, 'recordings', some)} "
            "SEMI JOIN calls USING (recording_id)"
        )
        ids = [
            row[0] for row in connection.execute(f"{found} ORDER BY path").fetchall()
        ]
        yield from read_timelines(connection, results, ids, role, some, with_levels)


def read_timelines(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    recording_ids: Sequence[str],
    role: str | None = "customer",
    parts: Sequence[str] | None = None,
    with_levels: bool = False,
) -> Iterator[Timeline]:
    """Yield the timelines of some recordings in `calls`, in the given order.

    Args:
        connection: a database with `calls` and `episodes`.
        results: the results to read.
        recording_ids: the ids of the recordings.
        role: the role whose segments to include; None for all roles.
        parts: the parts that contain the recordings, if known.
        with_levels: whether to read the levels from which waveforms are drawn.
    """
    labels = results.labels
    ids = list(recording_ids)
    if not ids:
        return

    def grouped(
        rows: str, order: str, having: str = "", ctes: str = ""
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of these recordings, by recording."""
        found: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
        query = (
            f"{ctes} SELECT * FROM {rows} WHERE recording_id IN (SELECT unnest($ids)) "
            f"{having} ORDER BY {order}"
        )
        for row in rows_of(connection, query, {"ids": ids}):
            found[row["recording_id"]].append(row)
        return found

    by_time = "start_s, end_s, channel"
    recordings = scan_sql(results, "recordings", parts)
    speech_rows = sides_sql(scan_sql(results, "speech", parts), recordings)
    own_speech = (
        f"(SELECT * FROM {speech_rows} WHERE recording_id IN (SELECT unnest($ids)))"
    )
    calls, episodes = grouped("calls", "path"), grouped("episodes", "start_s, emotion")
    speech = grouped(speech_rows, by_time)
    segments = grouped(sides_sql(scan_sql(results, "segments", parts)), by_time)
    floor = grouped(
        "turns",
        by_time,
        f"AND (talks_over OR pause_s >= {HOLD_S})",
        f"WITH {turns_sql(own_speech)}",
    )
    curves: dict[str, list[bytes]] = {}
    if with_levels:
        drawn = (
            f"SELECT recording_id, level_curves FROM {recordings} "
            "WHERE recording_id IN (SELECT unnest($ids))"
        )
        for row in rows_of(connection, drawn, {"ids": ids}):
            curves[row["recording_id"]] = row["level_curves"] or []
    for recording_id in ids:
        (call,), regions = calls[recording_id], speech[recording_id]
        scored = segments[recording_id]
        own = [s for s in scored if role is None or s["role"] in _scored_as(role)]
        tracks: dict[int, list[tuple[float, float]]] = {}
        for region in regions:
            track = tracks.setdefault(region["channel"], [])
            start_s, end_s = region["start_s"], region["end_s"]
            if track and track[-1][1] == start_s:
                # Divided only because another voice joined in.
                start_s, _ = track.pop()
            track.append((start_s, end_s))
        yield Timeline(
            call,
            dict(sorted(tracks.items())),
            {region["channel"]: region["role"] for region in regions},
            [_scored(row, labels) for row in own],
            [
                Episode(**{key: e[key] for key in EPISODE})
                for e in episodes[recording_id]
            ],
            [] if call["interruptions"] is None else _talk_overs(floor[recording_id]),
            _holds(floor[recording_id], regions, call["duration_s"] or 0.0),
            curves.get(recording_id, []),
        )


def _talk_overs(turns: Sequence[Mapping[str, Any]]) -> list[TalkOver]:
    return [
        TalkOver(
            t["start_s"],
            t["channel"],
            t["holder"],
            t["overlap_s"],
            t["is_interruption"],
        )
        for t in turns
        if t["talks_over"]
    ]


def _holds(
    turns: Sequence[Mapping[str, Any]],
    regions: Sequence[Mapping[str, Any]],
    duration_s: float,
) -> list[tuple[float, float]]:
    """Return the silences of `HOLD_S` or more, before a region or at the end."""
    holds = [
        (t["start_s"] - t["pause_s"], t["start_s"])
        for t in turns
        if t["pause_s"] >= HOLD_S
    ]
    last_s = max((region["end_s"] for region in regions), default=0.0)
    if duration_s - last_s >= HOLD_S:
        holds.append((last_s, duration_s))
    return holds


def _scored_as(role: str) -> tuple[str | None, ...]:
    """Return the roles whose segments belong to a role.

    Without roles, every speaker is treated as a customer.
    """
    return (role, None) if role == "customer" else (role,)


def _scored(row: dict[str, Any], labels: Sequence[str]) -> Scored:
    negative = {label: row[f"p_{label}"] for label in DISTRESS if label in labels}
    return Scored(
        row["start_s"], row["end_s"], row["channel"], row["role"], row["label"],
        tuple(row[f"p_{label}"] for label in labels),
        sum(negative.values()) if negative else None,
        max(negative, key=lambda label: negative[label]) if negative else None,
        {name: row[name] for name in DIMENSIONS if row[name] is not None},
    )  # fmt: skip

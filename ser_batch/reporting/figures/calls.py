"""One row of figures for each recording: `calls`.

Rows are computed in SQL, a few parts at a time, in bounded memory.

Timing comes from the `speech` table, emotion from `segments`. With roles, emotion is
that of a single role, the customer by default: emotions of agents are never mixed in.
`turns` defines turns, interruptions and response latencies.

Emotions are weighted by duration: `p_angry_s` is the sum over segments of p_angry times
the length in seconds.
"""

import string
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import tzinfo
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from ser_batch.emotion.answers import DISTRESS
from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import Metadata, gather_metadata
from ser_batch.reporting.figures.database import literal, quoted, scan_sql
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.figures.sides import sides_sql
from ser_batch.reporting.figures.turns import HOLD_S, PAUSE_S, SLOW_S, turns_sql
from ser_batch.results.results import Results
from ser_batch.results.schemas import table_schemas
from ser_batch.text import counted, counted_examples

CIRCUMPLEX = {
    "neutral": (0.0, 0.0), "calm": (0.68, -0.46),
    "happy": (0.81, 0.51), "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59), "fearful": (-0.64, 0.60),
    "disgust": (-0.60, 0.35), "surprised": (0.40, 0.67),
}  # fmt: skip
"""Valence and arousal, -1 to 1.

Mean ratings of Russell & Mehrabian (1977), Evidence for a three-factor theory of
emotions, J. Research in Personality 11; calm is their "relaxed", and neutral the origin
by definition.
"""

MIN_QUARTER_S = 3.0
"""Minimum scored speech in the first and in the last quarter of a call.

Below it, there is no `escalated`, `recovered` or `valence_change`.
"""
ONSET, OFFSET = 0.5, 0.35
"""Thresholds of the smoothed probability at which an episode begins and ends.

It begins where the probability reaches ONSET and ends where it falls below OFFSET.
"""
EPISODE_S = 6.0
"""Minimum scored speech in an episode."""
EPISODE_GAP_S = 30.0
"""An episode ends after this long without scored speech."""
RANK_S = 60.0
"""Added to the scored time of a call when ranking.

Calls are ranked by the seconds of distress and anger in their episodes, divided by this
sum.
"""
FAINT = 0.25
"""Minimum distress of a segment that is listed."""
STANDING_OUT = "concern > 0"
STRONGEST_FIRST = "concern DESC NULLS LAST, peak_distress DESC NULLS LAST, path"
"""The order of calls with the strongest first."""
PARTS_AT_ONCE, GROUPS_AT_ONCE = 24, 2
SQL = string.Template((Path(__file__).parent / "calls.sql").read_text(encoding="utf-8"))
CALLS = """
CREATE VIEW calls AS
SELECT
    m.*,
    strftime(m.started_at, '%Y-%m-%d') AS day,
    hour(m.started_at) AS hour,
    strftime(m.started_at, '%u %a') AS weekday,
    strftime(m.started_at, '%G-W%V') AS week,
    CASE
        WHEN contains(m.path, '/') THEN split_part(m.path, '/', 1) ELSE '.'
    END AS folder,
    k.* EXCLUDE (recording_id)
FROM measured m LEFT JOIN known k ON k.recording_id = m.recording_id
"""
CONSTANTS = {
    "hold_s": HOLD_S, "pause_s": PAUSE_S, "slow_s": SLOW_S,
    "min_quarter_s": MIN_QUARTER_S, "onset": ONSET, "offset": OFFSET,
    "episode_s": EPISODE_S, "episode_gap_s": EPISODE_GAP_S, "rank_s": RANK_S,
    "faint": FAINT,
}  # fmt: skip

COLUMNS = (
    "recording_id", "path", "input_root", "started_at", "time_from", "duration_s",
    "channels", "status", "error", "notes", "not_scored",
    "day", "hour", "weekday", "week", "folder",
    "talk_s", "agent_talk_s", "customer_talk_s", "silence_s", "overtalk_s",
    "conversation_s", "longest_silence_s", "holds", "hold_s", "non_talks", "non_talk_s",
    "longest_non_talk_s", "one_sided",
    *(f"{who}{what}" for who in ("", "agent_", "customer_") for what in (
        "turns", "backchannels", "interruptions", "interruption_s", "attempts",
        "attempt_s", "responses", "slow_responses",
    )),
    "response_latency_s", "agent_latency_s", "customer_latency_s",
    "segments", "scored_s", "abstained_s", "distress_s", "valence_s", "arousal_s",
    "q1_scored_s", "q2_scored_s", "q3_scored_s", "q4_scored_s",
    "q1_distress_s", "q2_distress_s", "q3_distress_s", "q4_distress_s",
    "q1_valence_s", "q2_valence_s", "q3_valence_s", "q4_valence_s",
    "valence_change", "escalated", "recovered", "concern", "peak_distress", "peak_at_s",
    "episodes", "episode_s", "angry_episodes", "fearful_episodes",
)  # fmt: skip
"""The columns of `calls`, apart from those of each label (`p_angry_s`) and metadata."""


def measure(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    options: Options = Options(),
) -> Metadata:
    """Create the tables `calls`, `quarters` and `episodes`.

    `calls` has one row per recording, `quarters` the sums over recordings by quarter.
    Only recordings that began in [since, until) are included, according to `started_at`
    of the metadata, in local time.

    Args:
        connection: the database in which to create the tables.
        results: the results to measure.
        options: which recordings, in which time zone, whose emotions.

    Returns:
        The call metadata, with notes.

    Raises:
        ResultsError: the results are damaged.
        UsageError: the metadata cannot be used, or `role` was not scored.
    """
    labels = results.labels
    if len({label.lower() for label in labels}) < len(labels):
        raise UsageError(
            f"{results.directory}: some labels differ only in case, which databases do "
            "not distinguish",
            path=results.directory,
        )
    results.check_checksums()
    taken = {*COLUMNS, *(f"p_{label}_s" for label in labels)}
    connection.execute("DROP VIEW IF EXISTS calls")
    for table in ("measured", "quarters", "episodes", "selected", "known"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    metadata = _select(connection, results, options, taken)
    everything = options.since is None and options.until is None
    role = options.role
    _add_parts(connection, results, [], role, everything, make=True)
    connection.execute(CALLS)

    def add(parts: Sequence[str]) -> None:
        with connection.cursor() as own:  # has separate views and temporary tables
            _add_parts(own, results, parts, role, everything)

    groups = [
        results.parts[i : i + PARTS_AT_ONCE]
        for i in range(0, len(results.parts), PARTS_AT_ONCE)
    ]
    # A single group does not keep all cores busy, but two do.
    with ThreadPoolExecutor(GROUPS_AT_ONCE) as pool:
        for _ in pool.map(add, groups):
            pass
    if role != "customer":
        _check_scored(connection, results, role)
    return metadata


def _check_scored(
    connection: duckdb.DuckDBPyConnection, results: Results, role: str
) -> None:
    (scored,) = connection.execute("SELECT sum(scored_s) FROM calls").fetchall()[0]
    if not scored:
        raise UsageError(
            f"{results.directory}: no {role} was scored; to score agents, analyse with "
            "--roles and --score-agents",
            option="--role",
        )


def _select(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    options: Options,
    taken: set[str],
) -> Metadata:
    """Create `selected` (the recordings and when they began) and `known` (metadata)."""
    columns = [
        "recording_id", "path", "input_root", "modified_at", "analyzed_at", "status"
    ]  # fmt: skip
    found = results.read("recordings", columns).to_pandas()
    is_copy = found.pop("status") == "duplicate"
    found = found[~is_copy].reset_index(drop=True)
    kept = results.metadata
    metadata = gather_metadata(found, options.inputs, kept, taken - {"started_at"})
    if is_copy.any():
        metadata.notes.append(
            f"{counted(is_copy.sum(), 'file')} not counted: same content as another "
            "recording"
        )
    if options.inputs.zone and kept is not None and "started_at" in kept:
        metadata.notes.append(
            "start times given to `ser analyze` are in the time zone of the machine it "
            f"ran on, not in {options.inputs.zone}"
        )
    selected = pd.DataFrame({"recording_id": found.recording_id})
    selected["started_at"] = pd.Series(
        pd.NaT, index=found.index, dtype="datetime64[us]"
    )
    if "started_at" in metadata.table:
        started = metadata.table.set_index("recording_id").started_at
        selected["started_at"] = started.reindex(selected.recording_id).to_numpy()
    given = selected.started_at.notna()
    selected["time_from"] = given.map({True: "metadata", False: None})
    if options.undated:
        # A file that had disappeared has no modification time.
        changed = pd.to_datetime(found.modified_at.fillna(found.analyzed_at), utc=True)
        selected.loc[~given, "time_from"] = "file"
        local = local_times(changed, options.inputs.zone).astype("datetime64[us]")
        selected["started_at"] = selected.started_at.fillna(local)
    elif options.since or options.until:
        _note_undated(found[~given.to_numpy()], metadata.notes)
    keep = pd.Series(True, index=selected.index)
    if options.since:
        keep &= selected.started_at >= options.since
    if options.until:
        keep &= selected.started_at < options.until
    types = {"recording_id": "str", "started_at": "datetime64[us]", "time_from": "str"}
    selected = selected[keep].astype(types)
    known = metadata.table.drop(columns="started_at", errors="ignore")
    for name, table in (("selected", selected), ("known", known)):
        connection.register("_given", pa.Table.from_pandas(table, preserve_index=False))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM _given")
        connection.unregister("_given")
    return metadata


def _note_undated(undated: pd.DataFrame, notes: list[str]) -> None:
    if len(undated):
        named = counted_examples(sorted(undated.path), "recording")
        notes.append(
            f"{named} left out of the period, since started_at is unknown (set it with "
            "--metadata or --name-pattern; --undated include uses the modification "
            "time of the file)"
        )


def local_times(times: pd.Series, zone: tzinfo | None = None) -> pd.Series:
    """Convert UTC times to local time in `zone` (None: this machine's zone)."""
    quarters = times.dt.floor("15min")  # UTC offsets change only at quarter hours
    offsets = {
        t: t.to_pydatetime().astimezone(zone).utcoffset()
        for t in quarters.dropna().unique()
    }
    return times.dt.tz_localize(None) + pd.to_timedelta(quarters.map(offsets))


def _add_parts(
    connection: duckdb.DuckDBPyConnection,
    results: Results,
    parts: Sequence[str],
    role: str,
    everything: bool,
    make: bool = False,
) -> None:
    """Add the recordings of some parts to the tables, or create the tables."""
    for table, schema in table_schemas(results.labels).items():
        if not parts:
            connection.register(f"_no_{table}", schema.empty_table())
        rows = scan_sql(results, table, parts) if parts else f"_no_{table}"
        if table == "speech":
            rows = sides_sql(rows, "_recordings")
        elif table == "segments":
            rows = sides_sql(rows)
        only = "" if everything else "SEMI JOIN selected USING (recording_id)"
        view = f"CREATE OR REPLACE TEMP VIEW _{table} AS SELECT * FROM {rows} {only}"
        connection.execute(view)
    sums = _label_sums(results.labels)
    turns = turns_sql("_speech")
    connection.execute(
        SQL.substitute(CONSTANTS, **sums, turns=turns, role=literal(role))
    )
    for table, rows in (
        ("measured", "_calls"), ("quarters", "_quarters"), ("episodes", "_episodes")
    ):  # fmt: skip
        verb = f"CREATE TABLE {table} AS" if make else f"INSERT INTO {table}"
        connection.execute(f"{verb} FROM {rows}")


def _label_sums(labels: Sequence[str]) -> dict[str, str]:
    """Return the sums over labels in `calls.sql`: probabilities, and seconds (`_s`)."""
    weights = {
        "distress": dict.fromkeys(DISTRESS, 1.0),
        "angry": {"angry": 1.0},
        "fearful": {"fearful": 1.0},
    }
    weights |= {
        axis: {label: at[i] for label, at in CIRCUMPLEX.items()}
        for i, axis in enumerate(("valence", "arousal"))
    }

    def weighed(of: Mapping[str, float], end: str) -> str:
        return (
            " + ".join(
                f"{w} * {quoted(f'p_{label}{end}')}::DOUBLE"
                for label, w in of.items()
                if label in labels
            )
            or "NULL::DOUBLE"
        )

    if not set(labels) <= set(CIRCUMPLEX):
        # The valence and arousal of custom labels are unknown.
        weights["valence"] = weights["arousal"] = {}
    every = " ".join(
        f"sum(d * {quoted(f'p_{label}')}) AS {quoted(f'p_{label}_s')},"
        for label in labels
    )
    return {"probabilities_s": every} | {
        f"{name}{end}": weighed(of, end)
        for name, of in weights.items()
        for end in ("", "_s")
    }

"""What a reader of a report should know of its figures."""

import duckdb

from ser_batch.reporting.figures.database import rows_of, scan_sql
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.groups import Figures, count_of
from ser_batch.reporting.figures.selection import Options
from ser_batch.results.results import Results
from ser_batch.text import counted

FAILURES = 1000
Compared = tuple[str, Figures, str | None]
OUT_OF_DEPTH = 0.5
"""Of `recordings.out_of_domain`."""
NOT_SCORED = {
    "no_speech": "no speech",
    "customer_silent": "no speech of the role that is scored",
    "speakers_unknown": "roles do not fit the channels",
    "too_short": "all speech is too short",
    "abstained": "the model was too unsure for any label",
}
"""What `recordings.not_scored` says, in words."""


def cluster_notes(
    connection: duckdb.DuckDBPyConnection,
    cluster: str | None,
    compared: Compared | None,
) -> list[str]:
    """Return notes on intervals that go by the values of a column."""
    notes = []
    if cluster is not None:
        values = count_of(connection, cluster)
        note = (
            f"intervals go by {cluster} ({values:,}), since calls of the same {cluster} "
            "resemble each other"
        )
        if values < MIN_UNITS:
            note += f"; fewer than {MIN_UNITS} give none (--cluster none: by calls)"
        notes.append(note)
    if compared and compared[2] != cluster:
        notes.append(
            f"intervals go by {cluster or 'calls'} now, and by {compared[2] or 'calls'} "
            f"in {compared[0]}"
        )
    return notes


def not_scored_notes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return notes on the recordings that were analysed and have no label, by reason."""
    counts = dict(
        connection.execute(
            "SELECT not_scored, count(*) FROM calls WHERE not_scored IS NOT NULL "
            "GROUP BY not_scored ORDER BY count(*) DESC, not_scored"
        ).fetchall()
    )
    notes = []
    unsure = counts.pop("abstained", 0)
    if counts:
        total = counted(sum(counts.values()), "analysed recording")
        reasons = "; ".join(f"{n:,}: {NOT_SCORED[why]}" for why, n in counts.items())
        notes.append(f"not scored: {total} ({reasons})")
    if unsure:
        notes.append(
            f"too unsure for any label: {counted(unsure, 'recording')}; the "
            "probabilities count all the same"
        )
    return notes


def depth_notes(connection: duckdb.DuckDBPyConnection, results: Results) -> list[str]:
    """Return a note on how much of what was scored is unlike the model's training."""
    if not results.parts:
        return []
    recordings = scan_sql(results, "recordings")
    (row,) = rows_of(
        connection,
        f"""SELECT sum(scored_s) FILTER (out_of_domain >= {OUT_OF_DEPTH})
                   / sum(scored_s) AS share
            FROM measured JOIN (SELECT recording_id, out_of_domain FROM {recordings})
                          USING (recording_id)""",
    )
    if not row["share"]:
        return []
    return [
        f"for {row['share']:.0%} of the scored time the model is out of its depth: what "
        "it heard is unlike the speech of its training (music, noise, a strange line)"
    ]


def notes_on(
    results: Results,
    total: Figures,
    starts: tuple[int, int],
    nameless: int,
    options: Options,
    compared: Compared | None,
) -> list[str]:
    """Return what a reader of a report should know of its figures, in sentences.

    `starts` are the recordings whose start was taken from the file, and those of none;
    `nameless` those without roles that were scored, beside others with roles.
    """
    notes = []
    if not total.recordings:
        notes.append(
            "no recording lies in this period"
            if options.since or options.until
            else "there is no recording"
        )
    elif not total["scored_h"].value:
        notes.append("nothing was scored")
    from_file, undated = starts
    if from_file:
        notes.append(
            f"no started_at is known of {_of(from_file, total)}: the time of the file's "
            "last change stands for it (--metadata or --name-pattern would tell)"
        )
    if undated:
        notes.append(
            f"no started_at is known of {_of(undated, total)}: no day or hour counts "
            "them (--metadata or --name-pattern would tell; --undated include takes the "
            "time of the file's last change)"
        )
    if nameless and options.role == "customer":
        notes.append(
            f"roles are not known of {_of(nameless, total)}: whoever was scored in them "
            "counts too"
        )
    if (total["failed"].value or 0) > FAILURES:
        notes.append(f"only the first {FAILURES:,} failures are listed")
    if compared and not compared[1].recordings:
        notes.append(f"nothing to compare with: there is no recording in {compared[0]}")
    run = results.run_record
    if run.get("finished_at", "") is None:
        notes.append(
            "the last run has not finished: it is still going on, or was killed; `ser analyze` goes on with it"
        )
    elif run.get("interrupted"):
        pending = run.get("counts", {}).get("pending")
        notes.append(
            f"the last run was interrupted{f', {pending} recordings were pending' if pending else ''}"
        )
    return notes


def _of(count: int, total: Figures) -> str:
    everything = counted(total.recordings, "recording")
    if count < total.recordings:
        return f"{count} of {everything}"
    return f"all {everything}" if count > 1 else everything

"""Notes that a reader of a report needs to interpret its figures."""

import duckdb

from ser_batch.reporting.figures.comparison import Compared
from ser_batch.reporting.figures.database import rows_of, scan_sql
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.groups import Figures, count_of
from ser_batch.reporting.figures.selection import Options
from ser_batch.results.results import Results
from ser_batch.text import counted

FAILURES = 1000
OUT_OF_DOMAIN = 0.5
"""Threshold of `recordings.out_of_domain`."""
NOT_SCORED = {
    "no_speech": "no speech",
    "customer_silent": "no speech in the scored role",
    "speakers_unknown": "the customer is unknown",
    "voices_unclear": "no voice is the customer's for certain",
    "too_short": "all speech is too short",
    "abstained": "the model was too unsure for any label",
}
"""Descriptions of the values of `recordings.not_scored`."""


def cluster_notes(
    connection: duckdb.DuckDBPyConnection,
    cluster: str | None,
    compared: Compared | None,
) -> list[str]:
    """Return notes on intervals whose units are the values of a column."""
    notes = []
    if cluster is not None:
        values = count_of(connection, cluster)
        note = (
            f"intervals are clustered by {cluster} ({values:,}), since calls of the "
            f"same {cluster} resemble each other"
        )
        if values < MIN_UNITS:
            note += (
                f"; fewer than {MIN_UNITS} give no intervals "
                "(--cluster none: no clustering)"
            )
        notes.append(note)
    if compared and compared.cluster != cluster:
        notes.append(
            f"intervals are by {cluster or 'call'} here, but by "
            f"{compared.cluster or 'call'} in {compared.against}"
        )
    return notes


def not_scored_notes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return notes on the analysed recordings without a label, by reason."""
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
        reasons = "; ".join(f"{NOT_SCORED[why]}: {n:,}" for why, n in counts.items())
        notes.append(f"not scored: {total} ({reasons})")
    if unsure:
        notes.append(
            f"too unsure for any label: {counted(unsure, 'recording')}; the "
            "probabilities still count"
        )
    return notes


def out_of_domain_notes(
    connection: duckdb.DuckDBPyConnection, results: Results
) -> list[str]:
    """Return a note on the share of scored time that is out of domain."""
    if not results.parts:
        return []
    recordings = scan_sql(results, "recordings")
    (row,) = rows_of(
        connection,
        f"""SELECT sum(scored_s) FILTER (out_of_domain >= {OUT_OF_DOMAIN})
                   / sum(scored_s) AS share
            FROM measured JOIN (SELECT recording_id, out_of_domain FROM {recordings})
                          USING (recording_id)""",
    )
    if not row["share"]:
        return []
    return [
        f"{row['share']:.0%} of the scored time is out of domain: unlike the speech "
        "that the model was trained on (music, noise, an unusual line)"
    ]


def notes_on(
    results: Results,
    total: Figures,
    starts: tuple[int, int],
    nameless: int,
    options: Options,
    compared: Compared | None,
) -> list[str]:
    """Return notes on the recordings, the period, the comparison and the last run.

    Args:
        results: the results of the report.
        total: the figures of all recordings.
        starts: the number of recordings whose start was taken from the file, and the
            number without a start.
        nameless: the number of scored recordings without roles, if others have roles.
        options: the options of the report.
        compared: the figures that the report is compared with.
    """
    notes = []
    if not total.recordings:
        notes.append(
            "no recordings in this period"
            if options.since or options.until
            else "no recordings"
        )
    elif not total["scored_h"].value:
        notes.append("nothing was scored")
    from_file, undated = starts
    if from_file:
        notes.append(
            f"started_at is unknown for {_of(from_file, total)}: the modification time "
            "of the file is used instead (set it with --metadata or --name-pattern)"
        )
    if undated:
        notes.append(
            f"started_at is unknown for {_of(undated, total)}: not counted in any day "
            "or hour (set it with --metadata or --name-pattern; --undated include "
            "uses the modification time of the file)"
        )
    if nameless and options.role == "customer":
        notes.append(
            f"roles are unknown for {_of(nameless, total)}: all scored speech in them "
            "is included"
        )
    if (total["failed"].value or 0) > FAILURES:
        notes.append(f"only the first {FAILURES:,} failures are listed")
    if compared and not compared.figures.recordings:
        notes.append(f"nothing to compare with: no recordings in {compared.against}")
    run = results.run_record
    if run.get("finished_at", "") is None:
        notes.append(
            "the last run has not finished: it is still running, or was killed; "
            "`ser analyze` resumes it"
        )
    elif run.get("interrupted"):
        pending = run.get("counts", {}).get("pending")
        notes.append(
            "the last run was interrupted"
            f"{f', with {pending} recordings pending' if pending else ''}"
        )
    return notes


def _of(count: int, total: Figures) -> str:
    everything = counted(total.recordings, "recording")
    if count < total.recordings:
        return f"{count} of {everything}"
    return f"all {everything}" if count > 1 else everything

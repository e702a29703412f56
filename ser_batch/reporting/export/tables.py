"""Exports of all tables: CSV, JSON lines, or a single DuckDB database."""

from collections.abc import Callable
from pathlib import Path

from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.figures.calls import STANDING_OUT, STRONGEST_FIRST
from ser_batch.reporting.figures.database import literal, quoted
from ser_batch.reporting.figures.measures import measures_of
from ser_batch.reporting.figures.sides import channels_sql
from ser_batch.text import plain_text
from ser_batch.version import __version__

BYTES = "BLOB[]"
"""The type of `level_curves`, which has no place in text."""


def _write_tables(
    selection: Selection,
    folder: Path,
    end: str,
    options: str,
    text: Callable[[str], str],
    header: Callable[[str], str] = str,
) -> None:
    folder.mkdir()
    queries = {
        **{name: selection.rows(name) for name in ("recordings", "speech", "segments")},
        "calls": "calls",
        "episodes": channels_sql("episodes"),
    }
    for name, rows in queries.items():
        columns = selection.connection.execute(
            f"SELECT column_name, column_type FROM (DESCRIBE FROM {rows})"
        ).fetchall()
        chosen = ", ".join(
            f"{text(quoted(column)) if kind == 'VARCHAR' else quoted(column)} "
            f"AS {quoted(header(column))}"
            for column, kind in columns
            if kind != BYTES
        )
        order = "recording_id" + (
            ", start_s, channel" if name in ("speech", "segments", "episodes") else ""
        )
        order += ", speaker" if name in ("speech", "segments") else ""
        target = literal(str(folder / f"{name}.{end}"))
        selection.connection.execute(
            f"COPY (SELECT {chosen} FROM {rows} ORDER BY {order}) "
            f"TO {target} ({options})"
        )


def write_csv_tables(selection: Selection, folder: Path) -> None:
    """Write each table to a CSV file.

    Text that a spreadsheet would treat as a formula is prefixed with an apostrophe.
    """
    formula = "regexp_matches({0}, '^[=+\\-@\\t\\r]')"

    def text(column: str) -> str:
        return (
            f"CASE WHEN {formula.format(column)} "
            f"THEN chr(39) || {column} ELSE {column} END"
        )

    _write_tables(selection, folder, "csv", "HEADER", text, plain_text)


def write_jsonl(selection: Selection, folder: Path) -> None:
    """Write each table to a file with one JSON object per line."""
    _write_tables(selection, folder, "jsonl", "FORMAT JSON", lambda column: column)


def write_duckdb(selection: Selection, path: Path) -> None:
    """Write one database: the three tables, calls, episodes, and views on them."""
    connection = selection.connection
    shares = ", ".join(
        f"{m.sql} AS {quoted(m.name)}" for m in measures_of(selection.labels).values()
    )
    connection.execute(f"ATTACH {literal(str(path))} AS export")
    try:
        for name in ("recordings", "speech", "segments"):
            connection.execute(
                f"CREATE TABLE export.{name} AS FROM {selection.rows(name)}"
            )
        for name in ("calls", "episodes"):
            rows = channels_sql(name) if name == "episodes" else name
            connection.execute(f"CREATE TABLE export.{name} AS FROM {rows}")
        connection.execute(
            "CREATE TABLE export.about AS SELECT * FROM (VALUES "
            f"('made by', {literal(f'ser {__version__}')}), "
            f"('model', {literal(selection.model_id)})) t(what, value)"
        )
        views = {
            "portfolio": f"SELECT {shares} FROM calls",
            "by_day": f"SELECT day, {shares} FROM calls WHERE day IS NOT NULL "
            "GROUP BY day ORDER BY day",
            "by_hour": f"SELECT hour, {shares} FROM calls WHERE hour IS NOT NULL "
            "GROUP BY hour ORDER BY hour",
            "by_folder": f"SELECT folder, {shares} FROM calls "
            "GROUP BY folder ORDER BY folder",
            "worth_listening": "SELECT path, concern, peak_distress, peak_at_s, "
            "episodes, escalated FROM calls "
            f"WHERE {STANDING_OUT} ORDER BY {STRONGEST_FIRST}",
            "failures": "SELECT path, error FROM calls WHERE status = 'failed' "
            "ORDER BY path",
        }
        connection.execute("USE export")
        for name, query in views.items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
    finally:
        connection.execute("USE memory")
        connection.execute("DETACH export")

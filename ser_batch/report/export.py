"""Results in the formats of other tools: read `export_results` first."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import xlsxwriter

from ser_batch import __version__
from ser_batch.errors import UsageError
from ser_batch.manifest import read_manifest
from ser_batch.metadata import Metadata, Sources
from ser_batch.report.annotations import write_audformat, write_rttm, write_textgrid, write_webvtt
from ser_batch.report.database import connect, literal, quoted, reading, rows_of
from ser_batch.report.exported import Source
from ser_batch.report.measures import STRONGEST_FIRST, measure
from ser_batch.report.nameless import load_key, write_results
from ser_batch.report.portfolio import measures_of
from ser_batch.report.records import FACTS, call_rows, plain_text
from ser_batch.schemas import table_schemas

FOLDERS = ("audformat", "textgrid", "webvtt", "csv", "jsonl", "rttm", "results")
"""Formats that are a folder of files; the others are one file."""
SHEET_ROWS = 1_048_575
"""What a sheet holds below its header."""


def export_results(
    directory: Path,
    format_: str,
    out: Path,
    sources: Sources = Sources(),
    since: datetime | None = None,
    until: datetime | None = None,
    hash_paths: Path | None = None,
) -> Metadata:
    """Writes the live rows of a results directory to `out` in one of `FORMATS`; whole, or not at all.

    `hash_paths` is a file with a key, made where there is none: with it, keyed hashes stand in place of the names of
    files and of what comes from them (`nameless`), and metadata serve to select and are not written.

    Raises:
        ResultsError: the directory holds no results, or they are damaged.
        UsageError: `out` is there and no export of before, cannot be written, or the format cannot hold so much.
    """
    if os.path.exists(out) and os.path.isdir(out) != (format_ in FOLDERS):
        raise UsageError(
            f"--out {out}: {format_} is written to a {'folder' if format_ in FOLDERS else 'file'}, and this is none"
        )
    if os.path.isdir(out) and any(out.iterdir()):
        raise UsageError(f"--out {out}: is not empty; choose a new folder")
    if os.path.lexists(out) and not (os.path.isdir(out) or os.path.isfile(out)):
        raise UsageError(f"--out {out}: is neither a file nor a folder")
    with _measured(directory, sources, since, until) as source:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with _whole(out) as partial:
                if hash_paths:
                    nameless = partial.with_name("nameless")
                    write_results(source, nameless, load_key(hash_paths))
                    with _measured(nameless) as copy:
                        FORMATS[format_](copy, partial)
                else:
                    FORMATS[format_](source, partial)
        except duckdb.IOException as error:
            if str(out.parent) not in str(error):
                raise  # it is about what is read
            raise UsageError(f"--out {out}: cannot be written: {error}; make room, or choose another place") from error
        except (OSError, xlsxwriter.exceptions.XlsxWriterException) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"--out {out}: cannot be written: {reason}; make room, or choose another place") from error
    return source.metadata


@contextmanager
def _measured(
    directory: Path, sources: Sources = Sources(), since: datetime | None = None, until: datetime | None = None
) -> Iterator[Source]:
    with connect() as connection, reading(directory):
        manifest = read_manifest(directory)
        metadata = measure(connection, directory, sources, since, until)
        identity = manifest.identity
        yield Source(connection, directory, identity.labels, identity.model_id, tuple(manifest.parts), metadata)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A place beside `out` that takes its name when all is written."""
    with tempfile.TemporaryDirectory(prefix=".ser-export-", dir=out.parent) as folder:
        partial = Path(folder) / "partial"
        yield partial
        if out.is_dir():
            out.rmdir()
        shutil.move(partial, out)


def _tables(
    source: Source, folder: Path, end: str, options: str, text: Callable[[str], str], header: Callable[[str], str] = str
) -> None:
    folder.mkdir()
    queries = {
        **{name: source.rows(name) for name in ("recordings", "speech", "segments")},
        "calls": "calls",
        "episodes": "episodes",
    }
    for name, rows in queries.items():
        columns = source.connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {rows})").fetchall()
        chosen = ", ".join(
            f"{text(quoted(column)) if kind == 'VARCHAR' else quoted(column)} AS {quoted(header(column))}"
            for column, kind in columns
        )
        order = "recording_id" + (", start_s, channel" if name in ("speech", "segments", "episodes") else "")
        target = literal(str(folder / f"{name}.{end}"))
        source.connection.execute(f"COPY (SELECT {chosen} FROM {rows} ORDER BY {order}) TO {target} ({options})")


def _csv(source: Source, folder: Path) -> None:
    """A file for each table; text that a spreadsheet would take for a formula begins with an apostrophe."""
    formula = "regexp_matches({0}, '^[=+\\-@\\t\\r]')"

    def text(column: str) -> str:
        return f"CASE WHEN {formula.format(column)} THEN chr(39) || {column} ELSE {column} END"

    _tables(source, folder, "csv", "HEADER", text, plain_text)


def _jsonl(source: Source, folder: Path) -> None:
    """A file for each table, one JSON object a line."""
    _tables(source, folder, "jsonl", "FORMAT JSON", lambda column: column)


def _duckdb(source: Source, path: Path) -> None:
    """One database: the three tables, calls and episodes, and views of what is asked most."""
    connection = source.connection
    shares = ", ".join(f"{m.sql} AS {quoted(m.name)}" for m in measures_of(source.labels).values())
    connection.execute(f"ATTACH {literal(str(path))} AS export")
    try:
        for name in ("recordings", "speech", "segments"):
            connection.execute(f"CREATE TABLE export.{name} AS FROM {source.rows(name)}")
        for name in ("calls", "episodes"):
            connection.execute(f"CREATE TABLE export.{name} AS FROM {name}")
        connection.execute(
            "CREATE TABLE export.about AS SELECT * FROM (VALUES "
            f"('made by', {literal(f'ser {__version__}')}), ('model', {literal(source.model_id)})) t(what, value)"
        )
        views = {
            "portfolio": f"SELECT {shares} FROM calls",
            "by_day": f"SELECT day, {shares} FROM calls GROUP BY day ORDER BY day",
            "by_hour": f"SELECT hour, {shares} FROM calls GROUP BY hour ORDER BY hour",
            "by_folder": f"SELECT folder, {shares} FROM calls GROUP BY folder ORDER BY folder",
            "worth_listening": "SELECT path, peak_distress, peak_at_s, episodes, escalated FROM calls "
            "WHERE peak_distress IS NOT NULL ORDER BY peak_distress DESC",
            "failures": "SELECT path, error FROM calls WHERE status = 'failed' ORDER BY path",
        }
        connection.execute("USE export")
        for name, query in views.items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
    finally:
        connection.execute("USE memory")
        connection.execute("DETACH export")


def _xlsx(source: Source, path: Path) -> None:
    """Sheets: calls with their measures, moments worth listening to, segments, what the columns mean."""
    connection = source.connection
    longest = f"greatest((SELECT count(*) FROM calls), (SELECT count(*) FROM {source.rows('segments')}))"
    count = connection.execute(f"SELECT {longest}").fetchall()[0][0]
    if count > SHEET_ROWS:
        raise UsageError(
            f"xlsx: {count:,} rows are more than a sheet holds ({SHEET_ROWS:,}); choose a period with --since, or csv "
            "or duckdb"
        )
    # Text is text: no formula, no link, whatever it looks like.
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "tmpdir": str(path.parent),
    }
    # In memory, for a zip file that a full disk cuts short complains once more when it is forgotten.
    made = BytesIO()
    with xlsxwriter.Workbook(made, options) as book:
        head = book.add_format({"bold": True, "bottom": 1})
        time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})

        def sheet(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
            page = book.add_worksheet(name)
            page.freeze_panes(1, 1)
            page.set_column(0, len(columns) - 1, 16)
            for i, column in enumerate(columns):
                page.write_string(0, i, column, head)
            at = 0
            for at, row in enumerate(rows, 1):
                for i, column in enumerate(columns):
                    value = row[column]
                    if isinstance(value, bool):
                        page.write_boolean(at, i, value)
                    elif isinstance(value, (int, float)):
                        page.write_number(at, i, value)
                    elif isinstance(value, datetime):
                        page.write_datetime(at, i, value, time)
                    elif value is not None:
                        page.write_string(at, i, str(value)[:32_767])
            page.autofilter(0, 0, at, len(columns) - 1)

        calls = chain.from_iterable(call_rows(connection, source.labels, source.metadata, STRONGEST_FIRST))
        first = next(calls, None)
        sheet("calls", list(first or FACTS), chain([first] if first else [], calls))
        moments = (
            {"path": t.call["path"], "from_s": m.start_s, "to_s": m.end_s, "who": t.who(m.channel), "why": m.reason}
            for t in source.timelines("customer")
            for m in t.moments()
        )
        sheet("moments", ["path", "from_s", "to_s", "who", "why"], moments)
        schema = table_schemas(source.labels)["segments"]
        query = f"FROM {source.rows('segments')} ORDER BY path, start_s, channel"
        sheet("segments", schema.names, rows_of(connection, query))
        meanings = [{"name": m.name, "unit": m.unit, "meaning": m.meaning} for m in measures_of(source.labels).values()]
        maker = {"name": "made by", "unit": f"ser {__version__}", "meaning": source.model_id}
        sheet("about", ["name", "unit", "meaning"], [*meanings, maker])
    path.write_bytes(made.getbuffer())


FORMATS: dict[str, Callable[[Source, Path], None]] = {
    "rttm": write_rttm, "audformat": write_audformat, "textgrid": write_textgrid, "webvtt": write_webvtt,
    "csv": _csv, "jsonl": _jsonl, "xlsx": _xlsx, "duckdb": _duckdb, "results": write_results,
}  # fmt: skip

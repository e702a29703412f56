"""Export as a workbook for Excel and other spreadsheet programs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import xlsxwriter

from ser_batch.errors import UsageError
from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.figures.calls import STRONGEST_FIRST
from ser_batch.reporting.figures.database import rows_of
from ser_batch.reporting.figures.measures import measures_of
from ser_batch.reporting.pages.records import FACTS, call_rows
from ser_batch.results.schemas import table_schemas
from ser_batch.version import __version__

SHEET_ROWS = 1_048_575
"""Most rows that a sheet can have below its header."""


def write_xlsx(selection: Selection, path: Path) -> None:
    """Write a workbook of four sheets.

    They contain calls with their measures, moments to listen to, segments, and the
    meaning of the columns.
    """
    connection = selection.connection
    longest = (
        "greatest((SELECT count(*) FROM calls), "
        f"(SELECT count(*) FROM {selection.rows('segments')}))"
    )
    count = connection.execute(f"SELECT {longest}").fetchall()[0][0]
    if count > SHEET_ROWS:
        raise UsageError(
            f"xlsx: {count:,} rows exceed the limit of a sheet ({SHEET_ROWS:,}); "
            "choose a period with --since, or export to csv or duckdb"
        )
    # Names that look like formulas or links must stay plain text.
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "tmpdir": str(path.parent),
    }
    # In memory: a zip file truncated by a full disk would raise again when collected.
    made = BytesIO()
    with xlsxwriter.Workbook(made, options) as book:
        head = book.add_format({"bold": True, "bottom": 1})
        time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})

        def sheet(
            name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]
        ) -> None:
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

        calls = chain.from_iterable(
            call_rows(connection, selection.labels, selection.metadata, STRONGEST_FIRST)
        )
        first = next(calls, None)
        sheet("calls", list(first or FACTS), chain([first] if first else [], calls))
        moments = (
            {
                "path": t.call["path"],
                "from_s": m.start_s,
                "to_s": m.end_s,
                "who": t.who(m.channel),
                "why": m.reason,
            }
            for t in selection.timelines("customer")
            for m in t.moments()
        )
        sheet("moments", ["path", "from_s", "to_s", "who", "why"], moments)
        schema = table_schemas(selection.labels)["segments"]
        order = "path, start_s, channel, speaker"
        query = f"FROM {selection.rows('segments')} ORDER BY {order}"
        sheet("segments", schema.names, rows_of(connection, query))
        meanings = [
            {"name": m.name, "unit": m.unit, "meaning": m.meaning}
            for m in measures_of(selection.labels).values()
        ]
        maker = {
            "name": "made by",
            "unit": f"ser {__version__}",
            "meaning": selection.model_id,
        }
        sheet("about", ["name", "unit", "meaning"], [*meanings, maker])
    path.write_bytes(made.getbuffer())

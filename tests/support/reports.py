"""Reports as values and as text."""

import io
from pathlib import Path

from rich.console import Console

from ser_batch.reporting.figures.calls import (
    measure,
)
from ser_batch.reporting.figures.database import connect, rows_of
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.strips import WIDTH
from ser_batch.results.results import open_results


def text_of(renderable, width: int = WIDTH) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def measured(directory: Path, **options) -> list[dict]:
    """Return the rows of `calls`, ordered by path."""
    with connect() as connection:
        measure(connection, open_results(directory), Options(**options))
        return rows_of(connection, "FROM calls ORDER BY path")


def report_of(directory: Path, **options):
    """Make a report that includes calls with only a file time."""
    options = {"undated": True, **options}
    with make_report(open_results(directory), Options(**options)) as opened:
        return opened.report

"""`ser report`: what the results say."""

import csv
import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How the report is written."""

    table = "table"
    json = "json"
    csv = "csv"


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.", show_default=False)],
    format_: Annotated[
        Format, typer.Option("--format", help="A page, everything as JSON, or the moments worth listening to as CSV.")
    ] = Format.table,
    top: Annotated[int, typer.Option(min=1, help="How many recordings to list.")] = 10,
) -> None:
    """Tells what happened and where to listen."""
    from ser_batch.report.summary import summarize

    # `ser report ... | head` ends as any other command does there.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    summary = summarize(directory, top)
    if format_ is Format.json:
        typer.echo(json.dumps(summary.to_dict(), indent=2, ensure_ascii=False))
    elif format_ is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(
            ["path", "duration_s", "recording_distress", "start_s", "end_s", "channel", "role", "label", "distress"]
        )
        for recording in summary.ranked:
            for m in recording.moments:
                row = [m.start_s, m.end_s, m.channel, m.role, m.label, m.distress]
                writer.writerow([_plain_text(recording.path), recording.duration_s, recording.distress, *row])
    else:
        from rich.console import Console

        from ser_batch.report.terminal import page

        console = Console()
        console.print(page(summary))


def _plain_text(name: str) -> str:
    """A file name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name

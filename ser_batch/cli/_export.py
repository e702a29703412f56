"""`ser export`: write results in the formats of other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.cli._options import (
    MetadataFile,
    NamePattern,
    ResultsDirectory,
    Sidecars,
    Timezone,
    Undated,
    UndatedCalls,
    local_folder,
)


class To(StrEnum):
    """Export formats."""

    rttm = "rttm"
    audformat = "audformat"
    textgrid = "textgrid"
    webvtt = "webvtt"
    csv = "csv"
    jsonl = "jsonl"
    xlsx = "xlsx"
    duckdb = "duckdb"
    results = "results"


def command(
    directory: ResultsDirectory,
    to: Annotated[To, typer.Option(help="Output format.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="A file for xlsx and duckdb, otherwise a new folder.",
            show_default=False,
            parser=local_folder,
        ),
    ],
    since: Annotated[
        str | None,
        typer.Option(
            help="Start of the period: 2026-01-31, 2026-01-31T14:00, today, "
            "yesterday, 7d (whole days, including today), 36h."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="End of the period; a day includes all its hours."),
    ] = None,
    hash_paths: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY",
            help="Replace file names with hashes, using the key in this file. It is "
            "created if missing.",
        ),
    ] = None,
    metadata: MetadataFile = None,
    name_pattern: NamePattern = None,
    sidecars: Sidecars = False,
    timezone: Timezone = None,
    undated: UndatedCalls = Undated.exclude,
) -> None:
    """Export results for Praat, audformat, spreadsheets, players or databases.

    With --to results, write a results directory; --hash-paths leaves out file names.
    """
    from ser_batch.metadata.gathering import MetadataInputs
    from ser_batch.reporting.export.exporting import export_results
    from ser_batch.reporting.figures.selection import options_of
    from ser_batch.results.results import open_results

    inputs = MetadataInputs(metadata, name_pattern, sidecars)
    include = undated is Undated.include
    options = options_of(inputs, since, until, timezone, undated=include)
    found = export_results(open_results(directory), to.value, out, options, hash_paths)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"written: {out}", err=True)

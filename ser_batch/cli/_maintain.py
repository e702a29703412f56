"""`ser verify`, `compact`, `path`, `forget`, `relocate`: maintain results."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.cli._options import LocalResults, ResultsDirectory, any_results
from ser_batch.errors import ExitCode


def verify_command(
    directory: ResultsDirectory,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Set damaged parts aside, so that the next run recreates them.",
        ),
    ] = False,
) -> None:
    """Check every part of the results.

    Covers checksums, counts, one row per recording, and valid segments.
    Exit codes: 0 everything is intact, or was repaired; 3 something is damaged.
    """
    from ser_batch.results import maintenance
    from ser_batch.results.live_parts import BROKEN_FOLDER
    from ser_batch.storage.checkout import checkout_of, name_of
    from ser_batch.text import counted

    findings = (
        maintenance.repair(directory) if repair else maintenance.verify(directory)
    )
    for part, problems in findings.problems.items():
        for problem in problems:
            typer.secho(f"{part or name_of(directory)}: {problem}", err=True, fg="red")
    typer.echo(
        f"{counted(findings.parts, 'part')}, "
        f"{counted(findings.recordings, 'recording')}, "
        f"{counted(findings.segments, 'segment')}: "
        + (
            "all intact"
            if findings.sound
            else counted(len(findings.problems), "damaged part")
        )
    )
    if repair and not findings.sound:
        where = (
            "taken out of the results"
            if checkout_of(directory)
            else f"set aside in {directory / BROKEN_FOLDER}"
        )
        typer.echo(f"{where}; run the same `ser analyze` again to recreate them")
    elif not findings.sound:
        typer.echo(
            "`ser verify --repair` sets them aside, so that the next run recreates them"
        )
        raise typer.Exit(ExitCode.SOME_FAILED)


def compact_command(directory: ResultsDirectory) -> None:
    """Merge the small parts of many runs into fewer, with the same rows."""
    from ser_batch.results.maintenance import compact
    from ser_batch.text import counted

    before, after = compact(directory)
    typer.echo(f"{counted(before, 'part')} before, {after} now")


def merge_command(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The results directory to add to; created if missing.",
            parser=any_results,
        ),
    ],
    shards: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHARD...",
            help="Results directories to add.",
            parser=any_results,
        ),
    ],
) -> None:
    """Add the recordings of other results, such as the shards of one job, in one step.

    Of several rows for one recording, the latest counts. A second time changes nothing.
    """
    from ser_batch.results.merging import merge_results
    from ser_batch.text import counted

    merged = merge_results(out, shards)
    copies = f" ({merged.copies:,} of them copies)" if merged.copies else ""
    typer.echo(
        f"{counted(merged.added, 'recording')} added, {merged.replaced:,} "
        f"replaced{copies}; {merged.unchanged:,} unchanged"
    )
    if merged.left:
        typer.echo(
            f"left out: {counted(merged.left, 'recording')} that a shard has only as a "
            "copy of what has no rows: the next `ser analyze` into this directory "
            "analyses them"
        )


def path_command(
    directory: LocalResults,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="recordings, speech or segments.")
    ],
) -> None:
    """Print the path of a table's current rows, which is valid for at least an hour.

    Use it to read many files in one consistent state while runs commit.
    """
    from ser_batch.errors import UsageError
    from ser_batch.results.results import open_results
    from ser_batch.results.schemas import TABLES

    if table not in TABLES:
        raise UsageError(f"unknown table {table}; choose from {', '.join(TABLES)}")
    typer.echo(open_results(directory).folder(table).resolve())


def forget_command(
    directory: ResultsDirectory,
    path: Annotated[
        list[str] | None,
        typer.Option(
            help="A recording, by its path in the results or its absolute path."
        ),
    ] = None,
    id_: Annotated[
        list[str] | None, typer.Option("--id", help="A recording, by its id.")
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="All recordings whose file was last modified before this day.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the recordings that would be forgotten, and exit."
        ),
    ] = False,
) -> None:
    """Remove recordings from the results for good, with their copies and metadata.

    The audio files are kept. Delete them too, or the next `ser analyze` will find
    them again.
    """
    from ser_batch.errors import UsageError
    from ser_batch.results.results import Results, open_results
    from ser_batch.results.retention import Row, chosen, forget
    from ser_batch.text import counted

    ids, paths = id_ or [], path or []
    if not (ids or paths or before):
        raise UsageError("choose the recordings with --path, --id or --before")
    moment = before.astimezone() if before else None

    def choose(results: Results) -> list[Row]:
        return chosen(results, ids, paths, moment)

    rows = choose(open_results(directory)) if dry_run else forget(directory, choose)
    if dry_run:
        for row in rows:
            typer.echo(f"{row['recording_id']} {row['path']}")
    verb = "would be forgotten" if dry_run else "forgotten"
    typer.echo(f"{counted(len(rows), 'recording')} {verb}", err=dry_run)


def relocate_command(
    directory: ResultsDirectory,
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The former folder of the recordings.")
    ],
    new: Annotated[
        Path,
        typer.Argument(
            metavar="NEW",
            exists=True,
            file_okay=False,
            help="The current folder of the recordings.",
        ),
    ],
) -> None:
    """Update locations after a folder or mount was renamed, without reading audio."""
    from ser_batch.results.retention import relocate
    from ser_batch.text import counted

    n = relocate(directory, old, str(new))
    typer.echo(f"{counted(n, 'recording')} relocated")

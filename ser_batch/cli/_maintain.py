"""`ser verify` and `ser compact`: a results directory between runs."""

from pathlib import Path
from typing import Annotated

import typer

from ser_batch.errors import ExitCode

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A results directory.", show_default=False)
]


def verify_command(
    directory: Directory,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Put broken parts aside, so that the next run makes them again.",
        ),
    ] = False,
) -> None:
    """Checks every part of the results: checksums, counts, one row for each recording, sound segments.

    Exit codes: 0 all is sound, or was repaired; 3 something is broken.
    """
    from ser_batch.results import maintenance
    from ser_batch.results.live_parts import BROKEN_FOLDER

    findings = (
        maintenance.repair(directory) if repair else maintenance.verify(directory)
    )
    for part, problems in findings.problems.items():
        for problem in problems:
            typer.secho(f"{part}: {problem}", err=True, fg="red")
    typer.echo(
        f"{findings.parts} parts, {findings.recordings} recordings, {findings.segments} segments: "
        + ("all sound" if findings.sound else f"{len(findings.problems)} broken parts")
    )
    if repair and not findings.sound:
        typer.echo(
            f"put aside in {directory / BROKEN_FOLDER}; run the same `ser analyze` to "
            "make them again"
        )
    elif not findings.sound:
        typer.echo(
            "`ser verify --repair` puts them aside, so that the next run makes them again"
        )
        raise typer.Exit(ExitCode.SOME_FAILED)


def compact_command(directory: Directory) -> None:
    """Merges small parts of many runs into fewer, with the same rows."""
    from ser_batch.results.maintenance import compact

    before, after = compact(directory)
    typer.echo(f"{before} parts before, {after} now")

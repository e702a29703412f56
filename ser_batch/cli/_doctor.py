"""`ser doctor`: check that the installation works, and suggest fixes."""

from typing import Annotated

import typer

from ser_batch.errors import ExitCode


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the checks as JSON.")
    ] = False,
) -> None:
    """Check versions, GPU, codecs, VAD and bundles."""
    import json
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from ser_batch.cli.installation import checks
    from ser_batch.cli.terminal import Terminal

    # Importing torch and loading a model takes seconds.
    with Terminal(stderr=True).status("checking the installation"):
        results = list(checks())
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in results], indent=2))
    else:
        table = Table("check", "", "found", "what to do", box=None, header_style="bold")
        for check in results:
            mark = (
                Text("ok", style="green") if check.ok else Text("failed", style="red")
            )
            table.add_row(check.name, mark, Text(check.found), Text(check.advice))
        Terminal().print(table)
    if not all(check.ok for check in results):
        raise typer.Exit(ExitCode.USAGE)

"""`ser compare`: bundles side by side."""

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """Output formats of the table."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


def command(
    bundles: Annotated[
        list[str],
        typer.Argument(
            help="Bundles by name or path, evaluations, or folders with several of "
            "them."
        ),
    ],
    condition: Annotated[str, typer.Option(help="Test condition.")] = "clean",
    format_: Annotated[
        Format, typer.Option("--format", help="Output format.")
    ] = Format.TABLE,
) -> None:
    """Tabulate the metrics of several bundles or recipes."""
    import json

    from ser_batch.cli.training_display import comparison_rows, print_comparison
    from ser_batch.errors import UsageError
    from ser_batch.training.evaluation.evaluating import read_metrics

    rows = comparison_rows(read_metrics(bundles), condition)
    if not rows:
        raise UsageError(
            f"none of these was tested in condition {condition!r}; choose another "
            "--condition"
        )
    if format_ is Format.JSON:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print_comparison(rows, markdown=format_ is Format.MARKDOWN)

"""`ser predict`: score short clips, one utterance per file, without VAD."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.cli._options import Bundle, Device
from ser_batch.errors import AudioError, ExitCode


def command(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLIP...",
            help="Audio files, one utterance each.",
            show_default=False,
        ),
    ],
    bundle: Bundle = "telephone",
    profile: Annotated[
        Path | None,
        typer.Option(
            help="File written by ser profile for the place that the clips come from.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Classify the emotion of short clips, each scored as a whole."""
    from rich.table import Column, Table
    from rich.text import Text

    from ser_batch.api import load
    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.scorer import DIMENSIONS
    from ser_batch.text import printable

    model = load(bundle, device, profile)
    table = Table(
        Column("clip", overflow="fold"), "label", "probabilities", show_lines=True
    )
    failed = False
    for clip in clips:
        name = printable(str(clip))
        try:
            (row,) = model.predict([clip]).to_dict("records")
        except AudioError as error:
            typer.secho(f"{name}: {error}", err=True, fg="red")
            failed = True
            continue
        probabilities = {label: float(row[f"p_{label}"]) for label in model.labels}
        levels = {own: float(row[own]) for own in DIMENSIONS if own in row}
        if as_json:
            values = {label: round(p, 6) for label, p in probabilities.items()}
            line = {"path": name, "label": row["label"], "probabilities": values}
            line |= {own: round(level, 6) for own, level in levels.items()}
            typer.echo(json.dumps(line))
        else:
            ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
            text = ", ".join(
                f"{what} {p:.2f}" for what, p in [*ranked, *levels.items()]
            )
            label = row["label"] or ("unsure" if model.labels else "none")
            table.add_row(Text(name), label, text)
    if table.row_count:
        Terminal().print(table)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)

"""`ser predict`: one utterance a file, no VAD."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.errors import AudioError, ExitCode


def command(
    clips: Annotated[
        list[Path], typer.Argument(metavar="CLIP...", help="Audio files of one utterance each.", show_default=False)
    ],
    bundle: Annotated[str, typer.Option(help="A bundle by name or path.")] = "telephone",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Names the emotion of short clips, each scored as a whole."""
    import numpy as np
    from rich.table import Column, Table
    from rich.text import Text

    from ser_batch.audio import read_mono
    from ser_batch.bundles import load_bundle
    from ser_batch.cli.terminal import Terminal
    from ser_batch.inference import PendingSegment, Scorer
    from ser_batch.recordings import shown

    scorer = Scorer(load_bundle(bundle), device)
    labels, calibration = scorer.bundle.labels, scorer.bundle.calibration
    table = Table(Column("clip", overflow="fold"), "label", "probabilities", show_lines=True)
    failed = False
    for clip in clips:
        try:
            waveform = read_mono(clip, scorer.bundle.features.sample_rate)
        except AudioError as error:
            typer.secho(f"{shown(str(clip))}: {error}", err=True, fg="red")
            failed = True
            continue
        item = PendingSegment(clip, len(waveform), partial(np.asarray, waveform))
        [[_, [p], _]] = [scores for scores in scorer.score([item], 1) if scores]
        label = labels[p.argmax()] if p.max() >= calibration.abstain_below else None
        if as_json:
            values = {name: round(float(value), 6) for name, value in zip(labels, p, strict=True)}
            typer.echo(json.dumps({"path": shown(str(clip)), "label": label, "probabilities": values}))
        else:
            ranked = sorted(zip(labels, p, strict=True), key=lambda pair: -pair[1])
            probabilities = ", ".join(f"{name} {value:.2f}" for name, value in ranked)
            table.add_row(Text(shown(str(clip))), label or "unsure", probabilities)
    if table.row_count:
        Terminal().print(table)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)

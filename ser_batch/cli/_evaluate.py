"""`ser evaluate`: what a bundle's answers are worth on labelled clips."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[
        str, typer.Argument(help="A shipped bundle by its name, or any by its path.")
    ],
    corpora: Annotated[
        list[str],
        typer.Argument(metavar="NAME=PATH...", help="Corpora, as for ser train."),
    ],
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="clean, g711, gsm, telephone, reverb or noise=XdB; may be repeated.  Default: clean."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write evaluation.json and pictures here."),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=LABEL",
            help="Take one label for another; for none (LABEL=) to leave out.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Tests a bundle on labelled corpora: accuracy, UAR, calibration, abstaining, confusion."""
    import json
    from functools import partial

    from tqdm import tqdm

    from ser_batch.cli.terminal import Terminal
    from ser_batch.cli.training_display import print_confusion, print_figures
    from ser_batch.training.corpora.relabelling import parse_label_map
    from ser_batch.training.evaluation.evaluating import (
        evaluate_bundle,
        write_evaluation,
    )

    bar = partial(tqdm, desc="reading", unit="clip", leave=False)
    conditions = tuple(dict.fromkeys(condition or ("clean",)))
    evaluation = evaluate_bundle(
        bundle, corpora, conditions, parse_label_map(map_), device, bar
    )
    for note in evaluation["notes"]:
        typer.echo(f"note: {note}", err=True)
    if seen := evaluation["seen_speakers"]:
        typer.echo(
            f"warning: {evaluation['bundle']} was trained on {len(seen)} of these speakers ({', '.join(seen[:5])}"
            f"{', ...' if len(seen) > 5 else ''}): the figures say nothing about people whom it has not heard",
            err=True,
        )
    if out is not None:
        write_evaluation(out, evaluation)
    if as_json:
        typer.echo(json.dumps(evaluation, indent=2, ensure_ascii=False))
        return
    console = Terminal()
    print_figures(evaluation["test"], console)
    for corpus, results in evaluation["test"].items():
        print_confusion(
            f"{corpus}, {next(iter(results))}",
            next(iter(results.values())),
            evaluation["labels"],
            console,
        )
    if out is not None:
        console.print(
            f"Written: {out}/evaluation.json and pictures", style="dim", highlight=False
        )

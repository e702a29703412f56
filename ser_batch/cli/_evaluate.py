"""`ser evaluate`: test a bundle on labelled clips."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[
        str, typer.Argument(help="Name of a shipped bundle, or path of any bundle.")
    ],
    corpora: Annotated[
        list[str],
        typer.Argument(metavar="NAME=PATH...", help="Corpora, as for ser train."),
    ],
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="Test condition: clean, g711, gsm, telephone, reverb or noise=XdB; "
            "may be repeated. Default: clean."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write evaluation.json and plots to this folder."
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=LABEL",
            help="Map one label to another, or to nothing (LABEL=) to leave its "
            "clips out.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")
    ] = "auto",
) -> None:
    """Test a bundle on labelled corpora.

    Shows accuracy, UAR, calibration, abstention and confusion.
    """
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
            f"warning: {evaluation['bundle']} was trained on {len(seen)} of these "
            f"speakers ({', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}): the "
            "figures do not carry over to unseen speakers",
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
            f"Written: {out}/evaluation.json and plots", style="dim", highlight=False
        )

"""`ser evaluate`: test a bundle on labelled clips."""

from pathlib import Path
from typing import Annotated

import typer

from ser_batch.errors import UsageError


def command(
    bundle: Annotated[
        str, typer.Argument(help="Name of a shipped bundle, or path of any bundle.")
    ],
    corpora: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=PATH]...", help="Corpora, as for ser train."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS",
            help="Test on your own calls instead: a folder made by ser label start.",
        ),
    ] = None,
    alert: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="With --labels: find the probability above which an alert on this "
            "label has the given --precision.",
        ),
    ] = None,
    precision: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="Precision that an --alert shall have."),
    ] = 0.5,
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
    """Test a bundle on labelled corpora, or on labelled segments of your own calls.

    Shows accuracy, UAR, calibration, abstention and confusion.
    """
    if labels is not None:
        if corpora or condition or map_:
            raise UsageError(
                "--labels cannot be combined with corpora, --condition or --map"
            )
        wanted = None if alert is None else (alert, precision)
        _on_labels(bundle, labels, wanted, out, as_json, device)
        return
    if not corpora:
        raise UsageError("name corpora (NAME=PATH), or a folder of labels (--labels)")
    if alert is not None:
        raise UsageError("--alert needs --labels")
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


def _on_labels(
    bundle: str,
    folder: Path,
    alert: tuple[str, float] | None,
    out: Path | None,
    as_json: bool,
    device: str,
) -> None:
    import json

    from ser_batch.cli.labelling_display import print_own_calls
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.training.evaluation.evaluating import write_evaluation
    from ser_batch.training.evaluation.own_calls import evaluate_on_labels
    from ser_batch.training.evaluation.own_calls_page import write_page

    evaluation = evaluate_on_labels(bundle, open_labelling(folder), device, alert)
    if out is not None:
        write_evaluation(out, evaluation)
        write_page(out, evaluation)
    if as_json:
        typer.echo(json.dumps(evaluation, indent=2, ensure_ascii=False))
        return
    print_own_calls(evaluation, alert)
    if out is not None:
        typer.echo(f"Written: {out}/index.html, with evaluation.json and a plot")

"""`ser train`: emotion corpora in, a bundle out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    corpora: Annotated[
        list[str],
        typer.Argument(metavar="NAME=DIR...", help="Corpora: ravdess=DIR, tess=DIR, nemo=DIR.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle to make; its folder's name is its name.")],
    noise: Annotated[
        Path | None, typer.Option(help="A folder of noise recordings to mix in, beside the noise that is made.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many.  Default: 40.")] = None,
    test_fold: Annotated[int | None, typer.Option(help="The RAVDESS fold to test on, 1 to 5.  Default: 4.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.  Default: 0.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that augment.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Trains a model on emotion corpora, with speakers kept apart, and writes it with its card.

    Start it again in the same way after a crash, and it goes on where it was.
    """
    from ser_batch.training.build import train_bundle
    from ser_batch.training.fit import TrainConfig

    given: dict[str, Any] = {"max_epochs": epochs, "test_fold": test_fold, "seed": seed}
    config = replace(TrainConfig(), **{name: value for name, value in given.items() if value is not None})
    say: Callable[[str], None] = (lambda text: None) if quiet else typer.echo
    metrics = train_bundle(corpora, out, config, noise, device, workers, quiet, say)
    if not quiet:
        for corpus, conditions in metrics["test"].items():
            for condition, m in conditions.items():
                typer.echo(
                    f"test, {corpus}, {condition}: UAR {m['uar']:.1%} (sd over speakers {m['uar_speaker_sd']:.1%}), "
                    f"accuracy {m['accuracy']:.1%}, ECE {m['ece']:.3f}"
                )
        typer.echo(f"Next: ser analyze CALLS --bundle {out} --out RESULTS")

"""`ser train`: train a bundle on emotion corpora."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_batch.cli.extras import require_extra
from ser_batch.errors import ExitCode

if TYPE_CHECKING:
    from ser_batch.training.places.preparing import PlacesOptions


class Split(StrEnum):
    """How clips are divided into training and test sets."""

    SPEAKERS = "speakers"
    RANDOM = "random"


def command(
    corpora: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=PATH...",
            help="Corpora, as folders or zip archives: ravdess=DIR, crema-d=DIR, ...; "
            "folder=DIR with one folder per label; csv=FILE with path,label[,speaker].",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the new bundle, which is named after it."
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Name of a shipped recipe, or path of a TOML file.")
    ] = "speaker",
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="Describe the shipped recipes.")
    ] = False,
    split: Annotated[
        Split,
        typer.Option(
            help="Split by speaker, or by clip at random, as in many publications."
        ),
    ] = Split.SPEAKERS,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="Test on each fold in turn, then train the bundle on all speakers.",
        ),
    ] = False,
    test_fold: Annotated[
        int | None,
        typer.Option(min=1, help="Without --folds: the fold to test on. Default: 1."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="With --folds: number of seeds to train each fold with."
        ),
    ] = 1,
    noise: Annotated[
        Path | None,
        typer.Option(
            help="Folder of noise recordings to mix in, along with synthetic noise."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels of the model: a,b,c. Default: the common labels that occur."
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
    init: Annotated[
        str | None,
        typer.Option(help="Fine-tune this bundle: its features, network and weights."),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Search learning rate, dropout, widths and augmentation first, in "
            "this many trials.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs, instead of the recipe's."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of steps, instead of the recipe's, if it has steps."
        ),
    ] = None,
    leave_corpus_out: Annotated[
        str | None,
        typer.Option(
            metavar="each|GROUPS",
            help="Instead of training on all corpora, hold out each in turn and test "
            "on it; or hold out groups: nemo+turev,emovo.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write TensorBoard logs to this folder.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Number of augmentation processes.")
    ] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors.")
    ] = False,
) -> None:
    """Train a model on emotion corpora, and write it with its card and metrics.

    After a crash, the same command resumes where it stopped.
    """
    from ser_batch.cli.training_display import print_recipes, print_tests
    from ser_batch.errors import UsageError
    from ser_batch.training.corpora.relabelling import parse_label_map, parse_labels
    from ser_batch.training.fit.building import train_bundle
    from ser_batch.training.fit.options import TrainOptions
    from ser_batch.training.places.preparing import PlacesOptions
    from ser_batch.training.places_recipe import PlacesRecipe
    from ser_batch.training.recipe import load_recipe

    if list_recipes:
        print_recipes()
        return
    if tune is not None:
        require_extra("--tune", "tune", "optuna")
    if tensorboard is not None:
        require_extra("--tensorboard", "tune", "tensorboard")
    if not corpora or out is None:
        raise UsageError(
            "name the corpora (NAME=PATH) and the bundle to make (--out FOLDER); see "
            "ser train --help"
        )
    if split is Split.RANDOM and (folds or seeds > 1):
        raise UsageError("--split random has no folds: omit --folds and --seeds")
    if test_fold is not None and (folds or split is Split.RANDOM):
        raise UsageError(
            "--test-fold selects the only fold to test on: omit --folds and "
            "--split random"
        )
    if seeds > 1 and not folds:
        raise UsageError("--seeds needs --folds")
    chosen = load_recipe(recipe)
    if isinstance(chosen, PlacesRecipe):
        foreign = {
            "--split": split is Split.RANDOM, "--folds": folds, "--init": init,
            "--test-fold": test_fold, "--labels": labels, "--tune": tune,
            "--epochs": epochs, "--tensorboard": tensorboard,
        }  # fmt: skip
        for option, given in foreign.items():
            if given:
                raise UsageError(
                    f"recipe {recipe} does not support {option}: it trains on whole "
                    "corpora, and is tested with --leave-corpus-out",
                    option=option,
                )
        if steps is not None:
            chosen = replace(chosen, fit=replace(chosen.fit, steps=steps))
        places = PlacesOptions(
            corpora=tuple(corpora),
            out=out,
            recipe_name=Path(recipe).stem,
            recipe=chosen,
            seed=seed,
            noise=noise,
            label_map=parse_label_map(map_),
            device=device,
            quiet=quiet,
        )
        _train_on_places(places, leave_corpus_out)
        return
    for option, value in (("--leave-corpus-out", leave_corpus_out), ("--steps", steps)):
        if value is not None:
            raise UsageError(
                f"recipe {recipe} does not support {option}: only recipes that train "
                "on many corpora do, such as places",
                option=option,
            )
    if epochs is not None:
        chosen = replace(chosen, fit=replace(chosen.fit, epochs=epochs))
    say: Callable[[str], None] = (lambda text: None) if quiet else typer.echo
    if split is Split.RANDOM:
        typer.echo(
            "warning: --split random puts clips of the same speaker on both sides of "
            "the split. The figures will show how well voices are remembered, and "
            "nothing about unseen speakers.",
            err=True,
        )
    options = TrainOptions(
        corpora=tuple(corpora),
        out=out,
        recipe_name=Path(recipe).stem,
        recipe=chosen,
        split="random" if split is Split.RANDOM else "speakers",
        folds=folds,
        test_fold=test_fold or 1,
        seed=seed,
        n_seeds=seeds,
        noise=noise,
        labels=parse_labels(labels),
        label_map=parse_label_map(map_),
        initial=init,
        device=device,
        workers=workers,
        tensorboard=tensorboard,
        quiet=quiet,
    )
    try:
        if tune is not None:
            from ser_batch.training.fit.tuning import tuned

            options = tuned(options, tune, say)
        metrics = train_bundle(options, say)
    except KeyboardInterrupt:
        typer.echo(
            f"stopped; finished epochs are kept in {out}, and the same command resumes "
            "from there",
            err=True,
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not quiet:
        print_tests(metrics)
        typer.echo(
            f"Next: ser models show {out}, or ser analyze CALLS --bundle {out} --out "
            "RESULTS"
        )


def _train_on_places(options: "PlacesOptions", leave_out: str | None) -> None:
    from ser_batch.cli.training_display import print_held_out
    from ser_batch.training.places.building import train_on_places
    from ser_batch.training.places.holdout import leave_corpora_out

    say: Callable[[str], None] = (lambda text: None) if options.quiet else typer.echo
    try:
        if leave_out is None:
            figures = train_on_places(options, say).get("left_out")
        else:
            named = [] if leave_out == "each" else leave_out.split(",")
            groups = [group.split("+") for group in named]
            figures = leave_corpora_out(options, groups, say)
    except KeyboardInterrupt:
        typer.echo(
            f"stopped; finished work is kept in {options.out}, and the same command "
            "resumes from there",
            err=True,
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if options.quiet:
        return
    if figures:
        print_held_out(figures)
    if leave_out is None:
        typer.echo(
            f"Next: ser models show {options.out}, or ser analyze CALLS --bundle "
            f"{options.out} --out RESULTS"
        )

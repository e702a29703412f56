"""`ser adapt`: make a bundle better on a centre's own calls."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[
        str, typer.Argument(help="Name of a shipped bundle, or path of any bundle.")
    ],
    labels: Annotated[
        Path, typer.Option(metavar="LABELS", help="Folder of ser label.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the new bundle.")
    ],
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A corpus that the bundle was trained on, to mix in when it is "
            "fine-tuned; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")
    ] = "auto",
) -> None:
    """Fit a bundle to labelled segments of your own calls.

    Tries a new calibration, a new last layer, and fine-tuning, by cross-validation over
    recordings; shows UAR before and after on recordings that were not used. If nothing
    is better than the bundle as it is, none is written.
    """
    from functools import partial

    from tqdm import tqdm

    from ser_batch.cli.labelling_display import print_adapted
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.training.adapting.adapting import adapt

    bar = partial(tqdm, desc="reading clips", leave=False, disable=None)
    labelling = open_labelling(labels)
    adapted = adapt(bundle, labelling, out, device, seed, mix or (), bar)
    print_adapted(adapted, out)

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
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")
    ] = "auto",
) -> None:
    """Fit a bundle to labelled segments of your own calls.

    Tries a new calibration, and a new last layer, by cross-validation over recordings;
    shows UAR before and after on recordings that were not used. If nothing is better
    than the bundle as it is, none is written.
    """
    from ser_batch.cli.labelling_display import print_adapted
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.training.adapting.adapting import adapt

    print_adapted(adapt(bundle, open_labelling(labels), out, device, seed), out)

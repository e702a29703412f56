"""Training time by stage (data, features, network, validation), and clips per second.

    python tests/benchmarks/training.py                     # on simulated clips
    python tests/benchmarks/training.py --corpus ravdess=DIR --epochs 3

On a GPU, its utilisation is printed too.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from ser_batch.emotion.devices import resolve_device
from ser_batch.training.fit.building import train_bundle
from ser_batch.training.fit.fitting import KINDS
from ser_batch.training.fit.options import TrainOptions
from ser_batch.training.recipe import load_recipe


def made_up(root: Path) -> str:
    """Write 40 clips of 2 to 4 s for each of twelve speakers, in RAVDESS's layout."""
    rng = np.random.default_rng(0)
    for actor in (2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15):
        for emotion in range(1, 9):
            for take in range(5):
                path = (
                    root
                    / f"Actor_{actor:02}"
                    / f"03-01-{emotion:02}-0{1 + take % 2}-0{1 + take // 3}"
                    f"-01-{actor:02}.wav"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(
                    path, rng.normal(0, 0.1, rng.integers(16_000, 32_000)), 8000
                )
    return f"ravdess={root}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", help="NAME=PATH; default: simulated clips")
    parser.add_argument("--recipe", default="speaker")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    recipe = load_recipe(args.recipe)
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=args.epochs))
    utilisation = []

    def say(text: str) -> None:
        if torch.cuda.is_available() and "epoch" in text:
            utilisation.append(torch.cuda.utilization())

    with tempfile.TemporaryDirectory() as folder:
        corpus = args.corpus or made_up(Path(folder) / "clips")
        options = TrainOptions(
            (corpus,),
            Path(folder) / "bundle",
            args.recipe,
            recipe,
            device=args.device,
            workers=args.workers,
            quiet=True,
        )
        metrics = train_bundle(options, say)
    rows = next(iter(metrics["history"].values()))
    total = sum(row[kind] for row in rows for kind in KINDS)
    print(
        f"{args.recipe} on {resolve_device(args.device)}, "
        f"{torch.get_num_threads()} threads, {args.epochs} epochs"
    )
    for kind in KINDS:
        seconds = sum(row[kind] for row in rows)
        print(
            f"  {kind.removesuffix('_s'):<10} {seconds:8.1f} s  {seconds / total:6.1%}"
        )
    training = sum(row[kind] for row in rows for kind in KINDS[:3])
    print(f"  {metrics['clips']['train'] * len(rows) / training:.0f} clips per second")
    if utilisation:
        print(f"  GPU utilisation {np.mean(utilisation):.0f} %")


if __name__ == "__main__":
    main()

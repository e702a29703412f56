"""Options of a training command, and the training runs that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ser_batch.errors import UsageError
from ser_batch.training.data.material import Material, prepare
from ser_batch.training.data.split import (
    Split,
    check_labels,
    speaker_folds,
    split_randomly,
    split_speakers,
)
from ser_batch.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of `ser train` for a `Recipe`."""

    corpora: tuple[str, ...]
    """Corpora, each as `NAME=PATH`."""
    out: Path
    recipe_name: str
    recipe: Recipe
    split: Literal["speakers", "random"] = "speakers"
    folds: bool = False
    """Whether to test on every fold in turn, then train the bundle on all speakers."""
    test_fold: int = 1
    """The fold to test on, without `folds`."""
    seed: int = 0
    n_seeds: int = 1
    """Number of training runs per fold, with `folds`."""
    noise: Path | None = None
    labels: tuple[str, ...] | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    initial: str | None = None
    """A bundle to fine-tune: its features, network and weights."""
    device: str = "auto"
    workers: int = 1
    tensorboard: Path | None = None
    quiet: bool = False
    tuned: dict[str, Any] | None = None
    """The result of a search on the validation speakers, if there was one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: its split and its seed."""

    split: Split
    seed: int

    @property
    def name(self) -> str:
        """The name of the run in messages and metrics."""
        return f"{self.split.name}, seed {self.seed}"

    @property
    def stem(self) -> str:
        """The name of the run in file names."""
        return self.name.replace(" ", "-").replace(",", "")


def material_for(options: TrainOptions) -> Material:
    """Load the corpora of the options, decoded for their recipe."""
    recipe = options.recipe
    bar = partial(tqdm, desc="reading", unit="clip", disable=options.quiet, leave=False)
    return prepare(
        options.corpora, recipe.features.sample_rate, recipe.data.trim_silence, bar,
        options.noise, options.labels, options.label_map,
    )  # fmt: skip


def all_runs(options: TrainOptions, material: Material) -> list[Run]:
    """Return all training runs in order; with folds, the last is on all speakers."""
    config, seeds = (
        options.recipe.data,
        range(options.seed, options.seed + options.n_seeds),
    )
    if options.split == "random":
        runs = [
            Run(split_randomly(material.corpora, config, options.seed), options.seed)
        ]
    else:
        folds = speaker_folds(material.corpora, options.seed)
        # With a fixed number of epochs, there is nothing to select by validation.
        select = options.recipe.fit.keep != "last"
        if options.folds:
            runs = [
                Run(
                    split_speakers(
                        material.corpora, fold, config, select, seed, f"fold {n}"
                    ),
                    seed,
                )
                for seed in seeds
                for n, fold in enumerate(folds, 1)
            ]
            runs.append(
                Run(
                    split_speakers(
                        material.corpora,
                        set(),
                        config,
                        select,
                        options.seed,
                        "everyone",
                    ),
                    options.seed,
                )
            )
        else:
            if not 1 <= options.test_fold <= len(folds):
                raise UsageError(
                    f"the folds are 1 to {len(folds)}; there is no fold "
                    f"{options.test_fold}"
                )
            fold = folds[options.test_fold - 1]
            name = f"fold {options.test_fold}"
            runs = [
                Run(
                    split_speakers(
                        material.corpora, fold, config, True, options.seed, name
                    ),
                    options.seed,
                )
            ]
    for run in runs:
        material.notes.extend(
            n
            for n in check_labels(run.split, material.labels)
            if n not in material.notes
        )
    return runs


def first_run(options: TrainOptions, material: Material) -> Run:
    """Return the first training run of the options."""
    return all_runs(options, material)[0]

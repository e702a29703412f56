"""Recipes: complete training configurations, each in one TOML file.

The shipped recipes are in `recipes/`. Adding one takes a new file and no new code.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ser_batch.config.structuring import from_plain, read_toml
from ser_batch.emotion.bundle_files import read_json
from ser_batch.emotion.features import FeatureConfig
from ser_batch.emotion.network import NetworkConfig
from ser_batch.errors import ConfigError
from ser_batch.training.data.augmentation import AugmentationConfig
from ser_batch.training.data.options import DataConfig
from ser_batch.training.places_recipe import PlacesRecipe

RECIPES_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Optimiser, schedule and regularisation."""

    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle", "warm_restarts"] = "constant"
    """`one_cycle`: rises over 15 % of the steps, then falls as half a cosine (Smith &
    Topin 2019). `warm_restarts`: cosine annealing that restarts after `restart_epochs`,
    each cycle twice as long as the one before (Loshchilov & Hutter 2017)."""
    restart_epochs: int = 10
    epochs: int = 40
    batch_size: int = 32
    keep: Literal["last", "best_accuracy", "best_uar"] = "last"
    """Which epoch's weights are kept: the last, or the best on the validation clips."""
    label_smoothing: float = 0.0
    average_decay: float = 0.0
    """Decay of the moving average of the weights, which replaces the weights themselves
    (Izmailov et al. 2018); 0: no averaging."""
    masked_frames: int = 0
    """Longest of the two random time masks per segment (SpecAugment, Park et al. 2019)
    [frames]; 0: none."""
    mixup: float = 0.0
    """The a of Beta(a, a), from which the mixing weight is drawn; half of the batches
    mix pairs of clips (Zhang et al. 2018). 0: no mixup."""

    def __post_init__(self) -> None:
        if (
            min(self.epochs, self.batch_size, self.restart_epochs) < 1
            or self.learning_rate <= 0
        ):
            raise ConfigError(
                "fit.epochs, fit.batch_size, fit.restart_epochs and fit.learning_rate "
                "must be above 0"
            )
        if not (
            0 <= self.label_smoothing < 1
            and 0 <= self.average_decay < 1
            and self.mixup >= 0
        ):
            raise ConfigError(
                "fit.label_smoothing and fit.average_decay must be at least 0 and "
                "below 1, and fit.mixup must not be negative"
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named training configuration."""

    about: str
    """A one-sentence description."""
    features: FeatureConfig
    network: NetworkConfig
    source: str = ""
    """The publication it reproduces, and our choices where that gives no detail."""
    claim: str = ""
    """The results that the publication reports."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.features.context_s and self.data.clips_per_call == 1:
            raise ConfigError(
                "features.context_s needs data.clips_per_call of at least 2: a single "
                "clip has no context"
            )


def load_recipe(name_or_path: str) -> Recipe | PlacesRecipe:
    """Load a recipe by name (if shipped), or from the path of a TOML file or a bundle.

    Raises:
        ConfigError: the recipe does not exist, or has an unknown option or an invalid
            value.
    """
    path = RECIPES_FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if (metrics := path / "metrics.json").is_file():
        config = read_json(metrics).get("config", {})
        return from_plain(_kind(config), config)
    if not path.is_file():
        names = ", ".join(name for name, _ in shipped_recipes())
        raise ConfigError(
            f"unknown recipe {name_or_path!r}: give the path of a TOML file, or one of "
            f"{names}"
        )
    return _read(path)


def shipped_recipes() -> Iterator[tuple[str, Recipe | PlacesRecipe]]:
    """Iterate over the recipes shipped with the package, as (name, recipe) pairs."""
    paths = sorted(RECIPES_FOLDER.glob("*.toml"))
    return ((path.stem, _read(path)) for path in paths)


def _read(path: Path) -> Recipe | PlacesRecipe:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    return read_toml(_kind(values), path)


def _kind(values: Mapping[str, Any]) -> type[Recipe] | type[PlacesRecipe]:
    """Return the class of a recipe; only a `PlacesRecipe` has a `draws` section."""
    return PlacesRecipe if "draws" in values else Recipe

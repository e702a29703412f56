"""A recipe: everything that shapes a training, in one TOML file.

The shipped ones lie in `recipes/`; a new one is a new file, and no new code.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ser_batch.config.structuring import from_plain, read_toml
from ser_batch.emotion.bundles import read_json
from ser_batch.emotion.features import FeatureConfig
from ser_batch.emotion.network import NetworkConfig
from ser_batch.errors import ConfigError
from ser_batch.training.data.augmentation import AugmentationConfig
from ser_batch.training.data.options import DataConfig
from ser_batch.training.places_recipe import PlacesRecipe

RECIPES_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How the network is fitted."""

    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle", "warm_restarts"] = "constant"
    """`one_cycle`: up over 15 % of the steps, then half a cosine down (Smith & Topin 2019); `warm_restarts`:
    cosines that begin anew (Loshchilov & Hutter 2017) after `restart_epochs`, then after twice as many, ..."""
    restart_epochs: int = 10
    epochs: int = 40
    batch_size: int = 32
    keep: Literal["last", "best_accuracy", "best_uar"] = "last"
    """Which epoch's weights are kept: the last's, or those of the best on the validation clips."""
    label_smoothing: float = 0.0
    average_decay: float = 0.0
    """Of the moving average of weights that is kept in place of the last ones (Izmailov et al. 2018); 0: none."""
    masked_frames: int = 0
    """Two stretches of up to this many frames are hidden from the network (SpecAugment, Park et al. 2019)."""
    mixup: float = 0.0
    """Half of the batches mix pairs of clips by a weight from Beta(a, a) (Zhang et al. 2018); 0: none."""

    def __post_init__(self) -> None:
        if (
            min(self.epochs, self.batch_size, self.restart_epochs) < 1
            or self.learning_rate <= 0
        ):
            raise ConfigError(
                "fit.epochs, batch_size, restart_epochs and learning_rate must be above 0"
            )
        if not (
            0 <= self.label_smoothing < 1
            and 0 <= self.average_decay < 1
            and self.mixup >= 0
        ):
            raise ConfigError(
                "fit.label_smoothing and average_decay must be 0 to 1, mixup 0 or more"
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named training configuration."""

    about: str
    """One sentence."""
    features: FeatureConfig
    network: NetworkConfig
    source: str = ""
    """Whom it follows, and what was chosen where they are silent."""
    claim: str = ""
    """What they report."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.features.context_s and self.data.clips_per_call == 1:
            raise ConfigError(
                "features.context_s needs data.clips_per_call of 2 or more: else nobody has any context"
            )


def load_recipe(name_or_path: str) -> Recipe | PlacesRecipe:
    """Return a shipped recipe by its name, or any by the path of its file or its bundle.

    Raises:
        ConfigError: there is none; or it holds an unknown option or a wrong value.
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
            f"no recipe {name_or_path!r}: give the path of a TOML file, or one of {names}"
        )
    return _read(path)


def shipped_recipes() -> Iterator[tuple[str, Recipe | PlacesRecipe]]:
    """The recipes that come with this package, by name."""
    paths = sorted(RECIPES_FOLDER.glob("*.toml"))
    return ((path.stem, _read(path)) for path in paths)


def _read(path: Path) -> Recipe | PlacesRecipe:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    return read_toml(_kind(values), path)


def _kind(values: Mapping[str, Any]) -> type[Recipe] | type[PlacesRecipe]:
    """Return the kind of a recipe: only one for many places draws them."""
    return PlacesRecipe if "draws" in values else Recipe

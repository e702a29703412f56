"""The configuration of training on many places."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ser_batch.emotion.profiled_network import ProfiledNetworkConfig
from ser_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DrawsConfig:
    """How steps are sampled: in groups, each from one corpus in one rendering."""

    groups: int = 3
    """Groups per step, each from a different corpus."""
    clips: int = 16
    """Clips per group that the loss is computed on, drawn with equal weight per
    label."""
    place_clips: int = 12
    """Clips per group for the statistics of the pooled vectors, drawn with the label
    mix of the simulated place."""
    sample: tuple[int, int] = (20, 128)
    """Range of the number of segments behind a place's feature statistics."""
    neutral_share: tuple[float, float] = (0.1, 0.95)
    """Range of the share of neutral segments in a place: a call centre is mostly
    neutral."""
    own_share: float = 0.15
    """Share of the groups normalised by the statistics over all corpora."""
    mixed_share: float = 0.25
    """Share of the groups normalised by a mixture of those and the place's own."""
    telephone_share: float = 0.5
    """Share of the groups in a telephone rendering."""
    corpora: Mapping[str, float] = field(default_factory=dict)
    """Sampling weights of corpora; 1 for those not named."""

    def __post_init__(self) -> None:
        if min(self.groups, self.clips, self.sample[0]) < 1 or self.place_clips < 2:
            raise ConfigError(
                "draws: groups, clips and sample must be 1 or more, and place_clips 2 "
                "or more",
                option="draws",
            )
        low, high = self.neutral_share
        if not 0 <= low <= high <= 1 or self.sample[0] > self.sample[1]:
            raise ConfigError(
                "draws: give each range as (low, high), and shares between 0 and 1",
                option="draws",
            )


@dataclass(frozen=True, slots=True)
class SpectralConfig:
    """Augmentation of features, drawn independently for every clip."""

    warp: float = 0.15
    """Largest relative change of vocal tract length (VTLP, Jaitly & Hinton 2013)."""
    tempo: float = 0.2
    """Largest change of tempo, as the logarithm of the factor."""
    pitch: float = 0.12
    """Largest shift of pitch on top of the warping [octaves]."""
    equaliser_db: float = 5.0
    """Scale of a smooth random curve over the bands [dB]."""
    noise_share: float = 0.6
    """Share of the clips with added noise, 8 to 40 dB below the speech."""
    masks: tuple[int, int] = (2, 1)
    """Number of time and frequency masks (SpecAugment, Park et al. 2019)."""
    longest_masks: tuple[int, int] = (20, 8)
    """Longest time and frequency mask [frames, bands]."""


@dataclass(frozen=True, slots=True)
class PlacesFitConfig:
    """Optimiser, schedule and loss."""

    steps: int = 2500
    learning_rate: float = 2e-3
    weight_decay: float = 0.03
    """Applied to weight matrices only."""
    warm_up: float = 0.25
    """Share of the steps in which the learning rate rises; it then falls as half a
    cosine."""
    average_decay: float = 0.99
    """Decay of the moving average of the weights, which is what is kept."""
    label_smoothing: float = 0.1
    arousal_weight: float = 0.3
    """Weight of the arousal loss relative to the label loss."""
    crop_frames: int = 200
    """Length of the crop taken from each segment [frames]."""

    def __post_init__(self) -> None:
        if min(self.steps, self.crop_frames) < 1 or not 0 < self.warm_up < 1:
            raise ConfigError(
                "fit: steps and crop_frames must be 1 or more, and warm_up strictly "
                "between 0 and 1",
                option="fit",
            )


@dataclass(frozen=True, slots=True)
class PlacesRecipe:
    """A training configuration for many corpora and a network normalised by place."""

    about: str
    """A one-sentence description."""
    source: str = ""
    claim: str = ""
    network: ProfiledNetworkConfig = field(default_factory=ProfiledNetworkConfig)
    draws: DrawsConfig = field(default_factory=DrawsConfig)
    augmentation: SpectralConfig = field(default_factory=SpectralConfig)
    fit: PlacesFitConfig = field(default_factory=PlacesFitConfig)

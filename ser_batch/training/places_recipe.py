"""What shapes a training on many places."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ser_batch.emotion.profiled_network import ProfiledNetworkConfig
from ser_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DrawsConfig:
    """What a step hears: groups of clips, each from one corpus in one rendering."""

    groups: int = 3
    """Corpora in a step."""
    clips: int = 16
    """Of a group, its labels alike: these make the loss."""
    place_clips: int = 12
    """Of a group, drawn as its place is composed: these make the pooled statistics."""
    sample: tuple[int, int] = (20, 128)
    """Segments that the features' statistics of a place are made of."""
    neutral_share: tuple[float, float] = (0.1, 0.95)
    """Of a place's segments: a call centre is mostly neutral."""
    own_share: float = 0.15
    """Of the groups, those that are told what is normal over all corpora ..."""
    mixed_share: float = 0.25
    """... and those that are told a mixture of that and of their place."""
    telephone_share: float = 0.5
    """Of the groups, those that are heard through a telephone."""
    corpora: Mapping[str, float] = field(default_factory=dict)
    """How often a corpus is drawn, where it is not 1."""

    def __post_init__(self) -> None:
        if min(self.groups, self.clips, self.sample[0]) < 1 or self.place_clips < 2:
            raise ConfigError(
                "draws: groups, clips and sample must be 1 or more, place_clips 2",
                option="draws",
            )
        low, high = self.neutral_share
        if not 0 <= low <= high <= 1 or self.sample[0] > self.sample[1]:
            raise ConfigError(
                "draws: ranges go from low to high, shares from 0 to 1", option="draws"
            )


@dataclass(frozen=True, slots=True)
class SpectralConfig:
    """How features are changed, anew for every clip."""

    warp: float = 0.15
    """Vocal tract length, by up to this share (VTLP, Jaitly & Hinton 2013)."""
    tempo: float = 0.2
    pitch: float = 0.12
    """In octaves, beyond the warping."""
    equaliser_db: float = 5.0
    """A smooth random curve over the bands."""
    noise_share: float = 0.6
    """Of the clips, those that get noise, 8 to 40 dB below."""
    masks: tuple[int, int] = (2, 1)
    """Stretches of frames and of bands that are hidden (SpecAugment, Park et al. 2019)."""
    longest_masks: tuple[int, int] = (20, 8)


@dataclass(frozen=True, slots=True)
class PlacesFitConfig:
    """How a network is fitted."""

    steps: int = 2500
    learning_rate: float = 2e-3
    weight_decay: float = 0.03
    """Of matrices alone."""
    warm_up: float = 0.25
    """Share of the steps in which the rate rises; then it falls as half a cosine."""
    average_decay: float = 0.99
    """Of the moving average of weights that is kept."""
    label_smoothing: float = 0.1
    arousal_weight: float = 0.3
    """Of the loss of arousal, beside that of labels."""
    crop_frames: int = 200
    """How much of a segment is heard."""

    def __post_init__(self) -> None:
        if min(self.steps, self.crop_frames) < 1 or not 0 < self.warm_up < 1:
            raise ConfigError(
                "fit: steps and crop_frames must be 1 or more, warm_up above 0 and "
                "below 1",
                option="fit",
            )


@dataclass(frozen=True, slots=True)
class PlacesRecipe:
    """A named training on many corpora, for a network that is told its place."""

    about: str
    """One sentence."""
    source: str = ""
    claim: str = ""
    network: ProfiledNetworkConfig = field(default_factory=ProfiledNetworkConfig)
    draws: DrawsConfig = field(default_factory=DrawsConfig)
    augmentation: SpectralConfig = field(default_factory=SpectralConfig)
    fit: PlacesFitConfig = field(default_factory=PlacesFitConfig)

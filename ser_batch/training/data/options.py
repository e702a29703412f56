"""What of the corpora is trained on, and how it is divided."""

from dataclasses import dataclass, field

from ser_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What of the corpora is trained on, and how it is divided."""

    trim_silence: bool = True
    """Clips are cut to their speech, as analysis does it."""
    corpus_shares: dict[str, float] = field(default_factory=dict)
    """The share of a corpus's clips that an epoch draws; 1 for those not named."""
    clips_per_call: int = 1
    """So many clips of one speaker come over one line and are each other's context."""
    validation_share: float = 0.2
    """Of the speakers that are not tested on; of all clips with a random split."""
    test_share: float = 0.2
    """Of all clips, with a random split. With 0 it reports on the clips that it was validated on, as many
    publications do. (Speakers are tested fold by fold.)"""

    def __post_init__(self) -> None:
        if not (
            self.validation_share > 0
            and self.test_share >= 0
            and self.validation_share + self.test_share < 1
        ):
            raise ConfigError(
                "data.validation_share and data.test_share must be shares that leave some clips to train"
            )
        if self.clips_per_call < 1 or any(
            not 0 < share <= 1 for share in self.corpus_shares.values()
        ):
            raise ConfigError(
                "data.clips_per_call must be 1 or more, data.corpus_shares above 0 and at most 1"
            )

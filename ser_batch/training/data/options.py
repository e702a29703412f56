"""Options for the selection of training data and its splits."""

from dataclasses import dataclass, field

from ser_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Selection of the training data, and sizes of the splits."""

    trim_silence: bool = True
    """Whether to trim clips to their speech, as `ser analyze` does."""
    corpus_shares: dict[str, float] = field(default_factory=dict)
    """Share of a corpus's clips drawn per epoch; 1 for those not named."""
    clips_per_call: int = 1
    """Number of a speaker's clips that share one line and are each other's context."""
    validation_share: float = 0.2
    """Share of the speakers outside the test fold; of all clips for a random split."""
    test_share: float = 0.2
    """Share of all clips, for a random split only (speakers are tested fold by fold).
    With 0, the figures are those of the validation clips, as in many publications."""

    def __post_init__(self) -> None:
        if not (
            self.validation_share > 0
            and self.test_share >= 0
            and self.validation_share + self.test_share < 1
        ):
            raise ConfigError(
                "data.validation_share must be above 0, data.test_share at least 0, "
                "and their sum below 1"
            )
        if self.clips_per_call < 1 or any(
            not 0 < share <= 1 for share in self.corpus_shares.values()
        ):
            raise ConfigError(
                "data.clips_per_call must be 1 or more, and data.corpus_shares above 0 "
                "and at most 1"
            )

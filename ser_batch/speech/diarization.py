"""The interface of diarizers, which tell apart the voices within one channel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from ser_batch.speech.regions import Regions

SAMPLE_RATE = 8000

Samples = Float32[np.ndarray, " samples"]
Read = Callable[[int, int], Samples]
"""Returns samples at `SAMPLE_RATE`, from a start on, by number."""


@dataclass(frozen=True, slots=True)
class Voices:
    """The voices of a channel, by first appearance."""

    regions: list[Regions]
    """The speech of each, in VAD frames, ordered and disjoint."""
    unclear: Regions
    """Speech that could be any voice's; none if there is only one."""
    certainty: Float32[np.ndarray, " frames"]
    """The probability that each frame has the right voice; 0 outside speech."""
    confidence: float
    """The expected share of speech that is given to the right voice."""
    separation: float
    """The distance between the closest two voices; infinite if there is one."""


class Diarizer(Protocol):
    """Tells apart the voices of a channel: `VoiceDiarizer`."""

    def voices(self, read: Read, regions: Regions, least: int, most: int) -> Voices:
        """Return `least` to `most` voices in the speech regions of a channel."""
        ...

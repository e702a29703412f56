"""The interface of diarizers, which tell apart the voices within one channel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32, Int

from ser_batch.speech.regions import Regions, inside, spans

SAMPLE_RATE = 8000
LEAST_TALK_S = 3.0
"""A voice that speaks less cannot be told from an outburst of another."""

Samples = Float32[np.ndarray, " samples"]
Read = Callable[[int, int], Samples]
"""Returns samples at `SAMPLE_RATE`, from a start on, by number."""


@dataclass(frozen=True, slots=True)
class Voices:
    """The voices of a channel, by first appearance."""

    regions: list[Regions]
    """The speech of each, in VAD frames, ordered and disjoint.

    Where two speak at once, it is that of one of them; the other may have no more.
    """
    unclear: Regions
    """Speech that could be any voice's; none if there is only one."""
    certainty: Float32[np.ndarray, " frames"]
    """The probability that each frame has the right voice; 0 outside speech."""
    confidence: float
    """The expected share of speech that is given to the right voice."""
    behind: list[Regions]
    """Where each speaks while the speech is another's: overlapping speech."""
    separation: float = np.inf
    """The distance between the closest two voices; infinite if there is one."""

    @property
    def overlap(self) -> Regions:
        """Where two voices speak at once."""
        every = np.concatenate([*self.behind, np.zeros((0, 2), int)])
        return spans(inside(every, len(self.certainty)))


def one_voice(regions: Regions) -> Voices:
    """Return the single voice of speech regions; none if there is no speech."""
    n_frames = int(regions[-1, 1]) if len(regions) else 0
    own = [regions] if len(regions) else []
    certainty = np.ones(n_frames, np.float32)
    return Voices(own, regions[:0], certainty, 1.0, [regions[:0]] * len(own))


def appearing(
    owner: Int[np.ndarray, " frames"], behind: Bool[np.ndarray, "frames voices"]
) -> list[int]:
    """Return the voices that own a frame or are behind another, by first appearance."""
    heard = behind | (owner[:, None] == np.arange(behind.shape[1]))
    first = np.where(heard.any(0), heard.argmax(0), len(owner))
    return [int(k) for k in np.argsort(first, kind="stable") if first[k] < len(owner)]


class Diarizer(Protocol):
    """Tells apart the voices of a channel: `VoiceDiarizer`, `PyannoteDiarizer`."""

    def voices(self, read: Read, regions: Regions, least: int, most: int) -> Voices:
        """Return `least` to `most` voices in the speech regions of a channel."""
        ...

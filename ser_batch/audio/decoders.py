"""What the two libraries that open recordings have in common: blocks of waveform, front to back.

What is wrong with the audio on the way is mended, on the same clock, and noted.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float32

Waveform = Float32[np.ndarray, "channels samples"]

BLOCK_S = 15.0
MAX_BLOCK = 2_000_000
MAX_SAMPLE = 2.0**16
"""Nothing that a recorder writes lies beyond this, even integers that were stored as floats."""
GAP_S = 0.05
"""Clocks that jump by more than this tell of lost audio."""


@dataclass(frozen=True, slots=True)
class RawOptions:
    """What to assume of files without a header: `sample_rate` in Hz (None: what the format's
    extension stands for) and the number of interleaved `channels`."""

    sample_rate: int | None = None
    channels: int = 1


class Decoder(Protocol):
    """An open recording. Iterating gives blocks of waveform, each about `BLOCK_S` long."""

    codec: str
    sample_rate: int
    channels: int
    notes: list[str]
    """What was wrong with the audio and how it was mended; filled while the blocks are read."""

    def __iter__(self) -> Iterator[Waveform]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


class Closing:
    """Owns what a decoder has opened."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def broken_off(position_s: float, promised_s: float, tolerance_s: float) -> list[str]:
    """A note where audio ends before the header says."""
    if promised_s - position_s <= tolerance_s:
        return []
    return [
        f"audio breaks off at {position_s:.2f} s: the header promises {promised_s:.2f} s"
    ]


def block_samples(sample_rate: int, channels: int) -> int:
    """Samples of a block: `BLOCK_S`, or less where rate and channels would make it large."""
    return min(int(BLOCK_S * sample_rate), MAX_BLOCK // channels)


def repaired(block: np.ndarray, notes: list[str]) -> Waveform:
    """The block as it is, but for samples that are no sound (NaN, infinite, absurd): they become silence."""
    # min and max are NaN or beyond the limit exactly where a sample is: cheaper than a mask for good audio.
    if block.size and not (block.min() >= -MAX_SAMPLE and block.max() <= MAX_SAMPLE):
        bad = ~(np.abs(block) <= MAX_SAMPLE)
        note = "samples that are not finite numbers, taken as silence"
        if note not in notes:
            notes.append(note)
        block = np.where(bad, np.float32(0), block)
    return np.ascontiguousarray(block)

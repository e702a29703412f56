"""What the decoders of both audio libraries share: blocks of waveform, in order.

Defects of the audio are repaired without shifting the clock, and noted.
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
"""No recorder writes larger samples, not even integers that were stored as floats."""
GAP_S = 0.05
"""A clock that jumps by more than this indicates lost audio."""


@dataclass(frozen=True, slots=True)
class RawOptions:
    """What to assume about files without a header.

    `sample_rate` is in Hz (None: the default for the file's extension); `channels` is
    the number of interleaved channels.
    """

    sample_rate: int | None = None
    channels: int = 1


class Decoder(Protocol):
    """An open recording; iterating yields blocks of waveform of about `BLOCK_S`."""

    codec: str
    sample_rate: int
    channels: int
    notes: list[str]
    """Defects of the audio and how they were repaired; filled as blocks are read."""

    def __iter__(self) -> Iterator[Waveform]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


class Closing:
    """Closes the resources that a decoder has opened."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def truncation_note(
    position_s: float, promised_s: float, tolerance_s: float
) -> list[str]:
    """Return a note if the audio ends before the length given in the header."""
    if promised_s - position_s <= tolerance_s:
        return []
    return [
        f"audio truncated at {position_s:.2f} s: the header gives {promised_s:.2f} s"
    ]


def block_samples(sample_rate: int, channels: int) -> int:
    """Return the samples per block: `BLOCK_S`, or fewer if the block would be large."""
    return min(int(BLOCK_S * sample_rate), MAX_BLOCK // channels)


def repaired(block: np.ndarray, notes: list[str]) -> Waveform:
    """Return the block with invalid samples (NaN, infinite, absurd) set to zero."""
    # min and max are NaN or beyond the limit exactly when some sample is. For valid
    # audio, they cost less than a mask.
    if block.size and not (block.min() >= -MAX_SAMPLE and block.max() <= MAX_SAMPLE):
        bad = ~(np.abs(block) <= MAX_SAMPLE)
        note = "non-finite samples replaced with silence"
        if note not in notes:
            notes.append(note)
        block = np.where(bad, np.float32(0), block)
    return np.ascontiguousarray(block)

"""What a voice activity detector is: waveform to speech probabilities, by frames of 32 ms.

A detector makes one stream for each channel. The stream takes blocks of any length and
carries its state over, so that its frames do not depend on the blocks.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Float32

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE

Samples = Float32[np.ndarray, " samples"]
Probabilities = Float32[np.ndarray, " frames"]


class VadStream(Protocol):
    """One channel's way through a detector.

    Frames come in order, none missing; the last one is padded with silence.
    """

    def push(self, samples: Samples) -> Probabilities:
        """Return the frames that a block at `SAMPLE_RATE` completes."""
        ...

    def finish(self) -> Probabilities:
        """Return the rest, once all blocks are in."""
        ...


class Vad(Protocol):
    """A voice activity detector at 16 kHz: `SileroVad`, `PyannoteVad`."""

    def stream(self) -> VadStream:
        """Start on a new channel."""
        ...

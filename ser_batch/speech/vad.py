"""The interface of voice activity detectors.

A detector turns a waveform into speech probabilities, one for each frame of 32 ms. It
makes one stream for each channel. A stream takes blocks of any length and carries its
state over, so that its frames do not depend on the block size.
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
    """A detector's stream for one channel.

    Frames come in order, with none missing; the last one is padded with silence.
    """

    def push(self, samples: Samples) -> Probabilities:
        """Return the frames that a block at `SAMPLE_RATE` completes."""
        ...

    def finish(self) -> Probabilities:
        """Return the remaining frames, after the last block."""
        ...


class Vad(Protocol):
    """A voice activity detector at 16 kHz: `SileroVad`, `PyannoteVad`."""

    def stream(self) -> VadStream:
        """Return a stream for a new channel."""
        ...

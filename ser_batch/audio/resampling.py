"""Block-by-block resampling of waveforms."""

import numpy as np
import soxr

from ser_batch.audio.decoders import Waveform


class Resampler:
    """Converts blocks of waveform to another sample rate, on the same clock.

    A whole recording yields `round(length * to_rate / from_rate)` samples, whatever the
    block size. Uses soxr's high-quality setting.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(
                from_rate, to_rate, channels, dtype="float32", quality="HQ"
            )
        self._channels = channels

    def push(self, block: Waveform) -> Waveform:
        """Return the samples that the block completes.

        Shape: (channels, samples), with any number of samples.
        """
        return self._resample(block, last=False)

    def finish(self) -> Waveform:
        """Return the remaining samples, after the last block."""
        return self._resample(np.zeros((self._channels, 0), np.float32), last=True)

    def _resample(self, block: Waveform, last: bool) -> Waveform:
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        return np.ascontiguousarray(out.reshape(-1, self._channels).T)

"""From blocks of waveform to what is heard in each channel, in files and in calls.

    blocks -> resample -> VAD -> crosstalk removal

Everything takes blocks of any length and carries its state over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser_batch.audio.decoders import Waveform
from ser_batch.audio.resampling import Resampler
from ser_batch.config.options import VadConfig
from ser_batch.speech.crosstalk import Crosstalk
from ser_batch.speech.crosstalk_path import RATE as CROSSTALK_RATE
from ser_batch.speech.regions import frame_levels_db
from ser_batch.speech.vad import FRAME_SAMPLES, SAMPLE_RATE, Probabilities, Vad

SAME_SIGNAL = 1e-6
"""Channels whose difference is 60 dB below their level carry the same signal.

It is a mono call stored as stereo.
"""
SAME_NOTE = "all {} channels are the same; treated as one"
CLEARLY = 1e-2


@dataclass(frozen=True, slots=True)
class Listened:
    """What a block adds, channel by channel. Frames are those of the VAD."""

    narrow: Waveform
    """Samples at the sample rate of the model."""
    levels_db: list[np.ndarray]
    """The levels of the frames that the block completes."""
    first_sight: list[Probabilities]
    """Their speech probabilities; crosstalk is not yet removed."""
    decided: list[Probabilities]
    """The speech probabilities of the frames that are decided now, some seconds later
    where there may be crosstalk."""


class Listening:
    """Listens to all channels of one recording or call.

    Attributes:
        length: the number of samples so far.
    """

    def __init__(
        self,
        vad: Vad,
        config: VadConfig,
        sample_rate: int,
        model_rate: int,
        n_channels: int,
    ) -> None:
        """`sample_rate` (Hz) is that of the blocks, `model_rate` that of the model."""
        self.sample_rate, self.length = sample_rate, 0
        self._energy = self._difference = 0.0
        self._for_vad = Resampler(sample_rate, SAMPLE_RATE, n_channels)
        self._for_model = Resampler(sample_rate, model_rate, n_channels)
        self._channels = [_Channel(vad) for _ in range(n_channels)]
        self._crosstalk = self._for_crosstalk = None
        if config.crosstalk and n_channels > 1:
            self._crosstalk = Crosstalk(n_channels, config.offset)
            if model_rate != CROSSTALK_RATE:
                self._for_crosstalk = Resampler(sample_rate, CROSSTALK_RATE, n_channels)

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.length / self.sample_rate

    @property
    def is_same(self) -> bool:
        """Whether all of several channels carry the same signal."""
        several = len(self._channels) > 1
        return several and self._difference < SAME_SIGNAL * self._energy

    @property
    def differs_clearly(self) -> bool:
        """Whether channels differ so much that they will not turn out to be the same.

        They would have to go on, identical, with ten thousand times the energy.
        """
        return self._difference > CLEARLY * self._energy

    def push(self, block: Waveform) -> Listened:
        """Listen to a block."""
        self.length += block.shape[1]
        first, *rest = block
        self._energy += float(np.square(first).sum())
        differences = (float(np.square(other - first).sum()) for other in rest)
        self._difference += max(differences, default=0.0)
        narrow = self._for_model.push(block)
        telephone = narrow
        if self._for_crosstalk:
            telephone = self._for_crosstalk.push(block)
        return self._heard(self._for_vad.push(block), narrow, telephone)

    def finish(self) -> Listened:
        """Return what remains, after the last block."""
        narrow = self._for_model.finish()
        telephone = narrow
        if self._for_crosstalk:
            telephone = self._for_crosstalk.finish()
        rest = self._heard(self._for_vad.finish(), narrow, telephone)
        last = [own.finish() for own in self._channels]
        added = [probabilities for probabilities, _ in last]
        decided: list[Probabilities] = added
        if self._crosstalk:
            more = self._crosstalk.push(telephone[:, :0], added)
            decided = list(np.concatenate([more, self._crosstalk.finish()], axis=1))
        return Listened(
            narrow,
            _joined(rest.levels_db, [levels for _, levels in last]),
            _joined(rest.first_sight, added),
            _joined(rest.decided, decided),
        )

    def _heard(self, wide: Waveform, narrow: Waveform, telephone: Waveform) -> Listened:
        found = [
            own.push(samples) for own, samples in zip(self._channels, wide, strict=True)
        ]
        first_sight = [probabilities for probabilities, _ in found]
        decided: list[Probabilities] = first_sight
        if self._crosstalk:
            decided = list(self._crosstalk.push(telephone, first_sight))
        return Listened(narrow, [levels for _, levels in found], first_sight, decided)


class _Channel:
    """The VAD of one channel, and the levels of its frames."""

    def __init__(self, vad: Vad) -> None:
        self._stream = vad.stream()
        self._rest = np.zeros(0, np.float32)

    def push(self, wide: np.ndarray) -> tuple[Probabilities, np.ndarray]:
        """Return probabilities and levels of the frames that a block completes."""
        found = self._stream.push(wide)
        wide = np.concatenate([self._rest, wide])
        whole = len(wide) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = wide[whole:]
        return found, frame_levels_db(wide[:whole].reshape(-1, FRAME_SAMPLES))

    def finish(self) -> tuple[Probabilities, np.ndarray]:
        """Return those of the last frame, padded with silence, if one has begun."""
        levels = np.zeros(0, np.float32)
        if len(self._rest):
            last = np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest)))
            levels = frame_levels_db(last[None])
        return self._stream.finish(), levels


def _joined(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> list[np.ndarray]:
    return [np.concatenate(pair) for pair in zip(first, second, strict=True)]

"""Crosstalk: what a channel picks up of another channel's speech is not its own."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from ser_batch.config.options import VadConfig

MAX_DELAY_FRAMES = 8
"""Echoes of a telephone line come up to 250 ms after the speech."""
_STRETCH = 2**16


def silence_crosstalk(
    probabilities: Sequence[Float32[np.ndarray, " frames"]],
    levels_db: Sequence[Float32[np.ndarray, " frames"]],
    config: VadConfig,
) -> None:
    """Set the probabilities of crosstalk to 0, in place.

    A frame is crosstalk where another channel is in speech, now or up to
    `MAX_DELAY_FRAMES` before, and was then louder by `crosstalk_db` or more.

    Args:
        probabilities: of each channel; all of one length.
        levels_db: of each channel, frame by frame.
        config: `crosstalk_db` of 0 leaves everything as it is.
    """
    if not config.crosstalk_db or len(probabilities) < 2:
        return
    before = np.full((len(probabilities), MAX_DELAY_FRAMES), -np.inf, np.float32)
    # In stretches and in place, so that the memory for what lies between does not grow with the recording.
    for start in range(0, len(probabilities[0]), _STRETCH):
        here = slice(start, start + _STRETCH)
        levels = np.stack([channel[here] for channel in levels_db])
        speaking = np.stack(
            [channel[here] >= config.offset for channel in probabilities]
        )
        spoken = np.concatenate([before, np.where(speaking, levels, -np.inf)], axis=1)
        before = spoken[:, -MAX_DELAY_FRAMES:]
        loudest = _trailing_max(spoken, MAX_DELAY_FRAMES)[:, MAX_DELAY_FRAMES:]
        for channel, own in enumerate(probabilities):
            loudest_other = np.delete(loudest, channel, axis=0).max(axis=0)
            own[here][loudest_other - levels[channel] >= config.crosstalk_db] = 0


def _trailing_max(values: np.ndarray, reach: int) -> np.ndarray:
    """The highest of each value and the `reach` ones before it, along the last axis."""
    result = values.copy()
    for delay in range(1, reach + 1):
        np.maximum(result[..., delay:], values[..., :-delay], out=result[..., delay:])
    return result

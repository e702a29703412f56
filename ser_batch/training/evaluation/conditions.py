"""Deterministic conditions of test clips, such as telephone lines and noise."""

import re
from collections.abc import Sequence

import numpy as np

from ser_batch.errors import UsageError
from ser_batch.training.data.augmentation import (
    CODECS,
    Wave,
    add_noise,
    band_limit,
    coloured_noise,
    reverberate,
    through_codec,
)

CONDITIONS = {
    "clean": "as recorded, at the model's sample rate",
    "g711": "300 to 3400 Hz, G.711 mu-law",
    "gsm": "300 to 3400 Hz, GSM 06.10",
    "telephone": "pink noise 15 dB below the speech, then 300 to 3400 Hz, G.711 mu-law",
    "reverb": "in a room with a T60 of 0.4 s",
    "noise=XdB": "pink noise X dB below the speech",
}
BAND_HZ = (300.0, 3400.0)


def in_condition(
    waves: Sequence[Wave], sample_rate: int, condition: str, seed: int = 0
) -> list[Wave]:
    """Return the clips in a condition; `seed` and a clip's index draw its noise.

    Raises:
        UsageError: there is no such condition.
    """
    return [
        _apply_condition(wave, sample_rate, condition, np.random.default_rng([seed, i]))
        for i, wave in enumerate(waves)
    ]


def check_condition(condition: str) -> str:
    """Return the condition unchanged if it exists.

    Raises:
        UsageError: there is no such condition.
    """
    _apply_condition(
        np.ones(800, np.float32), 8000, condition, np.random.default_rng(0)
    )
    return condition


def _apply_condition(
    wave: Wave, sample_rate: int, condition: str, rng: np.random.Generator
) -> Wave:
    def pink(snr_db: float) -> Wave:
        return add_noise(wave, coloured_noise(len(wave), 1.0, rng), snr_db)

    def line(wave: Wave, codec: str) -> Wave:
        return through_codec(
            band_limit(wave, sample_rate, *BAND_HZ), sample_rate, codec
        ).astype(np.float32)

    if condition == "clean":
        return wave
    if condition in ("g711", "gsm"):
        return line(wave, CODECS[0] if condition == "g711" else CODECS[2])
    if condition == "telephone":
        return line(pink(15.0), CODECS[0])
    if condition == "reverb":
        return reverberate(wave, sample_rate, 0.4, rng)
    if match := re.fullmatch(r"noise=(-?\d+(?:\.\d+)?)dB", condition):
        return pink(float(match[1]))
    raise UsageError(
        f"unknown condition {condition!r}: choose one of {', '.join(CONDITIONS)}"
    )

"""Raw telephone audio to samples: mu-law, A-law, and 16-bit integers."""

from enum import StrEnum

import numpy as np
from jaxtyping import Float32


class Encoding(StrEnum):
    """How samples are encoded."""

    MULAW = "mulaw"
    """G.711 mu-law, a byte per sample."""
    ALAW = "alaw"
    """G.711 A-law, a byte per sample."""
    S16 = "s16"
    """Signed 16-bit integers, little-endian."""

    @property
    def sample_bytes(self) -> int:
        """The size of a sample in bytes."""
        return 2 if self is Encoding.S16 else 1


def decode(data: bytes, encoding: Encoding) -> Float32[np.ndarray, " samples"]:
    """Return samples with full scale at 1.0.

    Raises:
        ValueError: the last sample is incomplete.
    """
    if encoding is Encoding.S16:
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    return _TABLES[encoding][np.frombuffer(data, np.uint8)]


def _mulaw_table() -> Float32[np.ndarray, " 256"]:
    """Return the value of each code, by ITU-T G.711, table 2a."""
    code = ~np.arange(256, dtype=np.uint8)
    sign, exponent, mantissa = code & 0x80, (code >> 4) & 7, code & 0x0F
    magnitude = (((mantissa.astype(int) << 3) + 132) << exponent) - 132
    return (np.where(sign, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> Float32[np.ndarray, " 256"]:
    """Return the value of each code, by ITU-T G.711, table 1a."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    sign, exponent, mantissa = code & 0x80, (code >> 4) & 7, code & 0x0F
    magnitude = (mantissa.astype(int) << 4) + 8 + np.where(exponent, 256, 0)
    magnitude <<= np.maximum(exponent.astype(int) - 1, 0)
    return (np.where(sign, magnitude, -magnitude) / 32768).astype(np.float32)


_TABLES = {Encoding.MULAW: _mulaw_table(), Encoding.ALAW: _alaw_table()}

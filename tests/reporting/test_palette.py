"""Emotion colours, as seen with every kind of colour vision."""

import numpy as np
import pytest

from ser_batch.reporting.pages.palette import COLOURS

# Simulated colour blindness in linear RGB: Machado, Oliveira & Fernandes (2009),
# severity 1.
_SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert linear RGB to CIE L*a*b* (D65)."""
    xyz = np.clip(rgb, 0, 1) @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    t = xyz / (0.9505, 1.0, 1.089)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", _SEEN)
def test_emotion_colours_are_distinct_for_every_kind_of_colour_vision(sight):
    seen = {}
    for label, colour in COLOURS.items():
        srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
        )
        seen[label] = _lab(_SEEN[sight] @ linear)
    names = list(seen)
    distances = {
        (a, b): np.linalg.norm(seen[a] - seen[b])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    closest = min(distances, key=lambda pair: distances[pair])
    assert distances[closest] > 10, closest

"""What a model answers, and how certain it is."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

DISTRESS = ("angry", "fearful", "disgust")
"""The negative emotions of high arousal (Russell's circumplex, 1980).

They are what a caller in trouble sounds like. Their probabilities add up to distress.
"""
Answers = Mapping[str, Mapping[str, Sequence[float]]]
"""By corpus and true label, the mean probability of each label."""


def certainty(
    probabilities: Float[np.ndarray, "n labels"], alike: tuple[int, ...]
) -> Float[np.ndarray, " n"]:
    """Return the probability of the top label; those of labels `alike` are summed."""
    highest = probabilities.max(axis=1, initial=0.0)
    if not alike:
        return highest
    own = np.isin(probabilities.argmax(axis=1), alike)
    return np.where(own, probabilities[:, list(alike)].sum(axis=1), highest)

"""The probability of each voice over time, by a hidden Markov model."""

import numpy as np
from jaxtyping import Float

BLOCK = 16_384
"""Cells that are plain numbers at a time, to bound memory."""


def smoothed(
    evidence: Float[np.ndarray, "cells voices"],
    changes: Float[np.ndarray, " cells"],
) -> Float[np.ndarray, "cells voices"]:
    """Return the probability of each voice in each cell, given all of them.

    The forward-backward algorithm (Rabiner 1989), in time linear in cells and voices.

    Args:
        evidence: the log likelihood of each cell, given the voice.
        changes: the probability that a cell is of another voice than the one before;
            all others are equally likely then.
    """
    n_cells, n_voices = evidence.shape
    if not n_cells or n_voices == 1:
        return np.ones_like(evidence)
    forward = np.empty_like(evidence)
    backward = np.empty_like(evidence)
    blocks = [slice(i, i + BLOCK) for i in range(0, n_cells, BLOCK)]
    state = [1 / n_voices] * n_voices
    for block in blocks:
        found, likelihood, changed = [], *_plain(evidence[block], changes[block])
        for own, other in zip(likelihood, changed, strict=True):
            stays = 1 - other * n_voices
            joint = [(p * stays + other) * q for p, q in zip(state, own, strict=True)]
            total = sum(joint)
            state = [p / total for p in joint]
            found.append(state)
        forward[block] = found
    state = [1.0] * n_voices
    for block in reversed(blocks):
        found, likelihood, changed = [], *_plain(evidence[block], changes[block])
        for own, other in zip(reversed(likelihood), reversed(changed), strict=True):
            found.append(state)
            joint = [p * q for p, q in zip(state, own, strict=True)]
            stays, rest = 1 - other * n_voices, other * sum(joint)
            state = [p * stays + rest for p in joint]
            total = sum(state)
            state = [p / total for p in state]
        backward[block] = found[::-1]
    both = forward * backward
    return both / both.sum(1, keepdims=True)


def _plain(
    evidence: np.ndarray, changes: np.ndarray
) -> tuple[list[list[float]], list[float]]:
    """Return likelihoods and the probability of each other voice, as plain numbers.

    A call of numpy for each of a million cells would take seconds.
    """
    likelihood = np.exp(evidence - evidence.max(1, keepdims=True))
    return likelihood.tolist(), (changes / (evidence.shape[1] - 1)).tolist()

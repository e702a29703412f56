"""The probability of each voice over time, by a hidden Markov model."""

from math import isqrt

import numpy as np
from jaxtyping import Float


def smoothed(
    evidence: Float[np.ndarray, "cells voices"],
    changes: Float[np.ndarray, " cells"],
) -> Float[np.ndarray, "cells voices"]:
    """Return the probability of each voice in each cell, given all of them.

    The forward-backward algorithm (Rabiner 1989).

    Args:
        evidence: the log likelihood of each cell, given the voice.
        changes: the probability that a cell is of another voice than the one before;
            all others are equally likely then.
    """
    n_cells, n_voices = evidence.shape
    if not n_cells or n_voices == 1:
        return np.ones_like(evidence)
    likelihood = np.exp(evidence - evidence.max(1, keepdims=True))
    other = (changes / (n_voices - 1))[:, None, None]
    transition = other + (1 - n_voices * other) * np.eye(n_voices)
    forward = _carried(transition * likelihood[:, None])
    # What follows says nothing of the last cell.
    backward = np.full_like(forward, 1 / n_voices)
    backward[:-1] = _carried((transition * likelihood[:, :, None])[:0:-1])[::-1]
    both = forward * backward
    return both / both.sum(1, keepdims=True)


def _carried(
    matrices: Float[np.ndarray, "cells voices voices"],
) -> Float[np.ndarray, "cells voices"]:
    """Return a uniform row vector multiplied by the first matrix, the first two, ...

    Each sums to 1. The cells are laid out in rows, whose products are computed side by
    side, since a call of numpy for each of a million cells would take seconds.
    """
    n_cells, n_voices, _ = matrices.shape
    length = isqrt(n_cells) + 1
    n_rows = -(-n_cells // length)
    rows = np.tile(np.eye(n_voices), (n_rows * length, 1, 1))
    rows[:n_cells] = matrices
    rows = rows.reshape(n_rows, length, n_voices, n_voices)
    for i in range(1, length):
        product = np.einsum("rij,rjk->rik", rows[:, i - 1], rows[:, i])
        rows[:, i] = product / product.sum((1, 2), keepdims=True)
    state = np.full(n_voices, 1 / n_voices)
    starts = np.empty((n_rows, n_voices))
    for number, whole in enumerate(rows[:, -1]):
        starts[number] = state
        state = state @ whole
        state /= state.sum()
    found = np.einsum("ri,rlij->rlj", starts, rows).reshape(-1, n_voices)[:n_cells]
    return found / found.sum(1, keepdims=True)

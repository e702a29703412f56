"""The probability of each voice over time, by a hidden Markov model."""

from collections.abc import Iterable
from math import isqrt

import numpy as np
from jaxtyping import Float

BLOCK = 16_384
"""Cells whose matrices are in memory at a time."""


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

    def transition(block: slice) -> Float[np.ndarray, "cells voices voices"]:
        return other[block] + (1 - n_voices * other[block]) * np.eye(n_voices)

    blocks = [slice(i, i + BLOCK) for i in range(0, n_cells, BLOCK)]
    forward = _carried(transition(b) * likelihood[b][:, None] for b in blocks)
    backward = _carried(
        (transition(b) * likelihood[b][:, :, None])[::-1] for b in reversed(blocks)
    )
    # What follows says nothing of the last cell.
    after = np.full_like(forward, 1 / n_voices)
    after[:-1] = backward[::-1][1:]
    both = forward * after
    return both / both.sum(1, keepdims=True)


def _carried(
    blocks: Iterable[Float[np.ndarray, "cells voices voices"]],
) -> Float[np.ndarray, "cells voices"]:
    """Return a uniform row vector multiplied by the first matrix, the first two, ...

    Each sums to 1.
    """
    found: list[Float[np.ndarray, "cells voices"]] = []
    for matrices in blocks:
        n_voices = matrices.shape[1]
        state = found[-1][-1] if found else np.full(n_voices, 1 / n_voices)
        found.append(_multiplied(state, matrices))
    return np.concatenate(found)


def _multiplied(
    state: Float[np.ndarray, " voices"],
    matrices: Float[np.ndarray, "cells voices voices"],
) -> Float[np.ndarray, "cells voices"]:
    """Return a row vector multiplied by the first matrix, the first two, ...

    The cells are laid out in rows, whose products are computed side by side, since a
    call of numpy for each of a million cells would take seconds.
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
    starts = np.empty((n_rows, n_voices))
    for number, whole in enumerate(rows[:, -1]):
        starts[number] = state
        state = state @ whole
        state /= state.sum()
    found = np.einsum("ri,rlij->rlj", starts, rows).reshape(-1, n_voices)[:n_cells]
    return found / found.sum(1, keepdims=True)

"""Clusters of points on a sphere: the voices in a sample of windows."""

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2

NEIGHBOURS, LEAST_NEIGHBOURS = 0.1, 10
"""Each point is connected to this share of all points that are most similar to it."""


def clustered(
    points: Float[np.ndarray, "points axes"], n_clusters: int
) -> Int[np.ndarray, " points"]:
    """Return the cluster of each point, by normalised spectral clustering.

    Ng, Jordan & Weiss 2001. The result depends only on the points.
    """
    n = len(points)
    if n_clusters < 2 or n <= n_clusters:
        return np.minimum(np.arange(n), n_clusters - 1)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-9)
    similarity = (unit @ unit.T).clip(0)
    # A point without a direction is similar to itself at least.
    np.fill_diagonal(similarity, 1)
    n_kept = min(n, max(LEAST_NEIGHBOURS, round(n * NEIGHBOURS)))
    least = np.partition(similarity, n - n_kept, axis=1)[:, n - n_kept, None]
    kept = np.where(similarity >= least, similarity, 0)
    graph = (kept + kept.T) / 2
    scale = 1 / np.sqrt(graph.sum(1))
    laplacian = graph * scale[:, None] * scale
    _, vectors = scipy.linalg.eigh(
        laplacian, subset_by_index=(n - n_clusters, n - 1), check_finite=False
    )
    rows = vectors * scale[:, None]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    _, labels = kmeans2(rows, _far_apart(rows, n_clusters), minit="matrix")
    return labels


def _far_apart(
    rows: Float[np.ndarray, "points axes"], n: int
) -> Float[np.ndarray, "n axes"]:
    """Return `n` of the rows, each as far as possible from those before it."""
    chosen = [int(np.linalg.norm(rows - rows.mean(0), axis=1).argmax())]
    distance = np.full(len(rows), np.inf)
    while len(chosen) < n:
        from_last = np.linalg.norm(rows - rows[chosen[-1]], axis=1)
        distance = np.minimum(distance, from_last)
        chosen.append(int(distance.argmax()))
    return rows[chosen]

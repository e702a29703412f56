"""What predictions are worth: unweighted average recall and its relatives. Pure, on numpy arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

N_BINS = 15


def confusion(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], n_labels: int
) -> Int[np.ndarray, "labels labels"]:
    """Counts by true label (row) and predicted label (column)."""
    matrix = np.zeros((n_labels, n_labels), int)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def answered(
    truth: Int[np.ndarray, " n"], right: Bool[np.ndarray, "n labels"], predicted: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The predictions in the words of the corpus: where another label than the true one is right too, the true one."""
    return np.where(right[np.arange(len(truth)), predicted], truth, predicted)


def recalls(matrix: Int[np.ndarray, "labels labels"]) -> Float[np.ndarray, " labels"]:
    """Recall of each label; NaN for labels that do not occur."""
    total = matrix.sum(axis=1)
    return np.where(total, np.diag(matrix) / np.maximum(total, 1), np.nan)


def uar(matrix: Int[np.ndarray, "labels labels"]) -> float:
    """Unweighted average recall: the mean recall of the labels that occur (Schuller et al., 2009)."""
    return float(np.nanmean(recalls(matrix)))


def macro_f1(matrix: Int[np.ndarray, "labels labels"]) -> float:
    """The mean F1 of the labels that occur."""
    true = np.diag(matrix)
    f1 = 2 * true / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1), 1)
    return float(np.mean(f1[matrix.sum(axis=1) > 0]))


def calibration_error(hit: Bool[np.ndarray, " n"], confidence: Float[np.ndarray, " n"], n_bins: int = N_BINS) -> float:
    """Expected calibration error over equal-width bins of confidence (Guo et al., ICML 2017)."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, hit - confidence, n_bins)
    return float(np.abs(gaps).sum() / len(hit))


def figures(
    truth: Int[np.ndarray, " n"],
    right: Bool[np.ndarray, "n labels"],
    probabilities: Float[np.ndarray, "n labels"],
    speakers: Sequence[str],
    labels: Sequence[str],
    abstain_below: float,
) -> dict:
    """All figures of one evaluation, as plain values for `metrics.json`."""
    predicted = answered(truth, right, probabilities.argmax(axis=1))
    matrix = confusion(truth, predicted, len(labels))
    by_speaker = {}
    for speaker in sorted(set(speakers)):
        own = np.array([name == speaker for name in speakers])
        by_speaker[speaker] = uar(confusion(truth[own], predicted[own], len(labels)))
    kept = probabilities.max(axis=1) >= abstain_below
    return {
        "clips": len(truth),
        "uar": uar(matrix),
        "accuracy": float(np.mean(predicted == truth)),
        "macro_f1": macro_f1(matrix),
        "ece": calibration_error(predicted == truth, probabilities.max(axis=1)),
        "recall": {label: float(r) for label, r in zip(labels, recalls(matrix), strict=True) if not np.isnan(r)},
        "uar_by_speaker": by_speaker,
        "uar_speaker_sd": float(np.std(list(by_speaker.values()))),
        "coverage": float(kept.mean()),
        "accuracy_when_not_abstaining": float(np.mean((predicted == truth)[kept])) if kept.any() else None,
        "confusion": matrix.tolist(),
    }

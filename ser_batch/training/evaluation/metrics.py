"""Metrics of predictions, such as unweighted average recall, on numpy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ser_batch.accuracy import calibration_error, recalls, reliability, uars

N_BOOTSTRAP = 1000
COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of one model for clips.

    `truth` is the index of the true label, `right` marks all correct labels, and `kept`
    the clips on which the model does not abstain.
    """

    run: str
    truth: Int[np.ndarray, " clips"]
    right: Bool[np.ndarray, "clips labels"]
    probabilities: Float[np.ndarray, "clips labels"]
    speakers: Sequence[str]
    kept: Bool[np.ndarray, " clips"]

    @property
    def answers(self) -> Int[np.ndarray, " clips"]:
        """Indices of the most probable labels; see `answered`."""
        return answered(self.truth, self.right, self.probabilities.argmax(axis=1))


def confusion(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], n_labels: int
) -> Int[np.ndarray, "labels labels"]:
    """Count the clips by true label (row) and predicted label (column)."""
    matrix = np.zeros((n_labels, n_labels), int)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def answered(
    truth: Int[np.ndarray, " n"],
    right: Bool[np.ndarray, "n labels"],
    predicted: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Map predictions to the labels of the corpus.

    A correct prediction other than the true label (calm for a neutral clip of a corpus
    without calm, for example) is replaced by the true label.
    """
    return np.where(right[np.arange(len(truth)), predicted], truth, predicted)


def uar(matrix: Int[np.ndarray, "labels labels"]) -> float:
    """Return the unweighted average recall over labels that occur."""
    return float(uars(matrix))


def macro_f1(matrix: Int[np.ndarray, "labels labels"]) -> float:
    """Return the mean F1 of the labels that occur."""
    true = np.diag(matrix)
    f1 = 2 * true / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1), 1)
    return float(np.mean(f1[matrix.sum(axis=1) > 0]))


def accuracy_by_coverage(
    hit: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    coverages: Sequence[float] = COVERAGES,
) -> dict[str, float]:
    """Return the accuracy on the most confident share of the clips, by coverage."""
    best_first = hit[np.argsort(-confidence, kind="stable")]
    return {
        f"{c:g}": float(best_first[: max(1, round(c * len(hit)))].mean())
        for c in coverages
    }


def speaker_intervals(
    by_speaker: Int[np.ndarray, "speakers labels labels"],
    seed: int = 0,
    n: int = N_BOOTSTRAP,
) -> dict[str, list[float]]:
    """Return 95 % intervals of UAR and accuracy, from a bootstrap over speakers.

    The percentile bootstrap (Efron 1979). With a single speaker there is nothing to
    resample, and the result is empty.
    """
    if len(by_speaker) < 2:
        return {}
    drawn = np.random.default_rng(seed).integers(
        len(by_speaker), size=(n, len(by_speaker))
    )
    matrices = by_speaker[drawn].sum(axis=1)
    accuracy = np.trace(matrices, axis1=1, axis2=2) / matrices.sum(axis=(1, 2))
    return {
        name: [float(x) for x in np.percentile(values, (2.5, 97.5))]
        for name, values in (
            ("uar", uars(matrices)),
            ("accuracy", accuracy),
        )
    }


def evaluation_figures(
    runs: Sequence[Predictions], labels: Sequence[str]
) -> dict[str, Any]:
    """Compute all figures of one evaluation, as plain values.

    UAR, accuracy and macro-F1 are means over the runs (UAR and accuracy with their
    standard deviation if there are several); everything else is pooled over the runs.
    """
    n = len(labels)
    by_run = {run.run: confusion(run.truth, run.answers, n) for run in runs}
    matrix = sum(by_run.values(), start=np.zeros((n, n), int))
    hit = np.concatenate([run.answers == run.truth for run in runs])
    confidence = np.concatenate([run.probabilities.max(axis=1) for run in runs])
    kept = np.concatenate([run.kept for run in runs])
    speakers = np.array([speaker for run in runs for speaker in run.speakers])
    truth, answers = (
        np.concatenate([getattr(run, name) for run in runs])
        for name in ("truth", "answers")
    )
    own = {
        name: confusion(truth[speakers == name], answers[speakers == name], n)
        for name in sorted(set(speakers))
    }
    uars = {name: uar(m) for name, m in by_run.items()}
    accuracies = [float(np.trace(m) / m.sum()) for m in by_run.values()]
    totals = matrix.sum(axis=0)
    result = {
        "clips": len(hit),
        "uar": float(np.mean(list(uars.values()))),
        "accuracy": float(np.mean(accuracies)),
        "macro_f1": float(np.mean([macro_f1(m) for m in by_run.values()])),
        "intervals_95": speaker_intervals(np.stack(list(own.values()))),
        "ece": calibration_error(hit, confidence),
        "recall": _by_label(labels, recalls(matrix)),
        "precision": _by_label(
            labels, np.where(totals, np.diag(matrix) / np.maximum(totals, 1), np.nan)
        ),
        "uar_by_speaker": {name: uar(m) for name, m in own.items()},
        "uar_speaker_sd": float(np.std([uar(m) for m in own.values()])),
        "coverage": float(kept.mean()),
        "accuracy_when_not_abstaining": float(hit[kept].mean()) if kept.any() else None,
        "accuracy_by_coverage": accuracy_by_coverage(hit, confidence),
        "reliability": reliability(hit, confidence),
        "confusion": matrix.tolist(),
    }
    if len(runs) > 1:
        result |= {
            "uar_sd": float(np.std(list(uars.values()), ddof=1)),
            "accuracy_sd": float(np.std(accuracies, ddof=1)),
            "uar_by_run": uars,
        }
    return result


def _by_label(labels: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {
        label: float(v)
        for label, v in zip(labels, values, strict=True)
        if not np.isnan(v)
    }

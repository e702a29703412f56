"""Plots of training runs and evaluations, as PNG."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

WIDTH_INCHES = 7.0
FEW_CLIPS = 10
"""Bins of confidence with fewer clips are not drawn."""


def draw_training(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Draw `training.png` and `confusion.png`.

    The former shows loss, validation figures and learning rate by epoch, the latter the
    confusion matrices of the clean test clips.
    """
    histories: Mapping[str, Sequence[Mapping[str, float]]] = metrics["history"]
    with _figure(folder / "training.png", 1, 3) as (losses, scores, rates):
        for name, rows in histories.items():
            epochs = [row["epoch"] + 1 for row in rows]
            losses.plot(epochs, [row["loss"] for row in rows], label=name, linewidth=1)
            if "validation_uar" in rows[0]:
                scores.plot(
                    epochs,
                    [100 * row["validation_uar"] for row in rows],
                    label=f"{name}: UAR",
                    linewidth=1,
                )
                accuracy = [100 * row["validation_accuracy"] for row in rows]
                scores.plot(
                    epochs,
                    accuracy,
                    label=f"{name}: accuracy",
                    linewidth=1,
                    linestyle="--",
                )
            rates.plot(epochs, [row["rate"] for row in rows], linewidth=1)
        losses.set(title="training loss", xlabel="epoch")
        scores.set(title="validation, %", xlabel="epoch")
        rates.set(title="learning rate", xlabel="epoch")
        rates.set_ylim(bottom=0)
        if len(histories) == 1 and scores.lines:
            scores.legend(fontsize="x-small")
        if not scores.lines:
            scores.text(
                0.5,
                0.5,
                "no validation set:\na fixed number of epochs",
                ha="center",
                transform=scores.transAxes,
            )
    tested = metrics["test"]
    with _figure(folder / "confusion.png", 1, max(1, len(tested)), height=3.4) as axes:
        for axis, (corpus, conditions) in zip(axes, tested.items(), strict=False):
            first = next(iter(conditions.values()))
            draw_confusion(axis, np.array(first["confusion"]), metrics["labels"])
            axis.set_title(
                f"{corpus}, {next(iter(conditions))}: UAR {first['uar']:.1%}",
                fontsize="small",
            )


def draw_confusion(axis: Any, matrix: np.ndarray, labels: Sequence[str]) -> None:
    """Draw a confusion matrix: shares of each true label (row) by answer (column)."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        if matrix[row].sum():
            colour = "white" if value > 0.5 else "black"
            axis.text(
                column,
                row,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize="x-small",
                color=colour,
            )
    axis.set_xticks(
        range(len(labels)), labels, rotation=60, ha="right", fontsize="x-small"
    )
    axis.set_yticks(range(len(labels)), labels, fontsize="x-small")
    axis.set_xlabel("answer", fontsize="x-small")
    axis.set_ylabel("truth, rows sum to 100 %", fontsize="x-small")


def draw_evaluation(
    folder: Path, name: str, figures: Mapping[str, Any], labels: Sequence[str]
) -> None:
    """Draw `NAME.png`: confusion matrix, reliability and accuracy by coverage."""
    with _figure(folder / f"{name}.png", 1, 3, height=3.2) as (matrix, diagram, curve):
        draw_confusion(matrix, np.array(figures["confusion"]), labels)
        rows = figures["reliability"]
        confidence = [row["confidence"] for row in rows]
        diagram.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        sizes = [10 + 200 * row["clips"] / figures["clips"] for row in rows]
        diagram.scatter(
            confidence, [row["accuracy"] for row in rows], s=sizes, color="tab:blue"
        )
        diagram.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        diagram.set_title(f"reliability, ECE {figures['ece']:.3f}", fontsize="small")
        coverage = figures["accuracy_by_coverage"]
        curve.plot(
            [float(c) for c in coverage],
            list(coverage.values()),
            marker="o",
            markersize=3,
        )
        curve.set(xlabel="coverage", ylabel="accuracy", ylim=(0, 1))
        curve.set_title("when abstaining", fontsize="small")


def draw_reliability(path: Path, left_out: Mapping[str, Any]) -> None:
    """Draw accuracy by confidence on held-out corpora, as recorded and by telephone."""
    conditions = ("clean, neutral", "telephone, neutral")
    with _figure(path, 1, len(conditions), height=3.4) as axes:
        for axis, condition in zip(axes, conditions, strict=True):
            axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
            for name, figures in left_out["corpora"].items():
                own = figures[condition]["network"]
                rows = [r for r in own["reliability"] if r["clips"] >= FEW_CLIPS]
                axis.plot(
                    [row["confidence"] for row in rows],
                    [row["accuracy"] for row in rows],
                    marker="o", markersize=3, linewidth=1,
                    label=f"{name}: ECE {own['ece']:.2f}",
                )  # fmt: skip
            axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0.2, 1), ylim=(0, 1))
            axis.set_title(f"{condition} place", fontsize="small")
            axis.legend(fontsize="x-small", loc="upper left")


@contextmanager
def _figure(
    path: Path, rows: int, columns: int, height: float = 2.6
) -> Iterator[Sequence[Any]]:
    # Without pyplot, no global state changes and no window can open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(max(WIDTH_INCHES, 3.2 * columns), height), layout="constrained"
    )
    FigureCanvasAgg(figure)
    yield list(np.atleast_1d(figure.subplots(rows, columns)))
    figure.savefig(path, dpi=120)

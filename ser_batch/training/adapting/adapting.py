"""Adapting a bundle to labels: start with `adapt`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.folder import Labelling
from ser_batch.reporting.figures.labelled_figures import (
    figures_of,
    uar_difference,
    uar_of,
)
from ser_batch.training.adapting.adapted_bundle import (
    UNCHANGED,
    Adapted,
    write_adapted,
)
from ser_batch.training.adapting.learners import load_learner
from ser_batch.training.adapting.problem import Problem
from ser_batch.training.evaluation.own_calls import profile_speech, segment_waveforms

FOLDS = 5
METHODS: dict[str, float | None] = {
    UNCHANGED: None,
    "recalibrated": float("inf"),
    "a new head, far from the old": 0.3,
    "a new head": 3.0,
    "a new head, near the old": 30.0,
}
"""What is tried, with the penalty of a change (`fit_head`)."""


def adapt(
    name: str, labelling: Labelling, out: Path, device: str = "auto", seed: int = 0
) -> Adapted:
    """Fit the last layer of a bundle to labels, and write it as a bundle of its own.

    Several methods are tried by cross-validation over recordings. The figures of each
    recording come from a head that was neither fitted to it nor chosen on it. If no
    method is better than none, nothing is written.

    Args:
        name: the name of a shipped bundle, or the path of any bundle.
        labelling: a folder of segments with labels.
        out: the folder of the new bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the folds.

    Raises:
        BundleError: there is no such bundle, or the new one cannot be written.
        UsageError: there are too few labels, they are all the same, or the bundle is of
            a kind that cannot be adapted.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out}: is not an empty folder", option="--out")
    learner = load_learner(name, device)
    labels = read_labels(labelling)
    waveforms = segment_waveforms(labelling, learner.sample_rate)
    learner.set_place(profile_speech(labelling, waveforms))
    problem = Problem.of(learner, labelling, labels, waveforms)
    folds = _folds(problem.recordings, seed)
    answers = {
        method: _held_out(problem, decay, folds) for method, decay in METHODS.items()
    }
    uars = {method: problem.uar(p) for method, p in answers.items()}
    chosen = _best(uars)
    honest = _chosen_elsewhere(problem, answers, folds)
    before, after = problem.judged(answers[UNCHANGED]), problem.judged(honest)
    gain, gain_95 = uar_difference(after, before)
    adapted = Adapted(
        method=chosen,
        before=figures_of(before),
        after=figures_of(after),
        gain=gain,
        gain_95=gain_95,
        by_method=uars,
        segments=len(problem.rows),
        recordings=len(set(problem.recordings)),
        labels={
            label: round(float(n), 1)
            for label, n in zip(
                problem.offered, problem.shares.sum(axis=0), strict=True
            )
        },
    )
    if adapted.is_written:
        head = problem.fitted(METHODS[chosen], np.arange(len(problem.rows)))
        write_adapted(out, name, problem, head, answers[chosen], adapted)
    return adapted


def _folds(recordings: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the segments of each fold; a recording is in one fold only."""
    names = np.unique(recordings)
    shuffled = np.random.default_rng(seed).permutation(names)
    parts = np.array_split(shuffled, min(FOLDS, len(names)))
    return [np.flatnonzero(np.isin(recordings, part)) for part in parts]


def _held_out(
    problem: Problem, decay: float | None, folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the probabilities of each segment, by a head not fitted to its fold."""
    found = np.zeros((len(problem.rows), len(problem.learner.labels)))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(problem.rows)), fold)
        own = problem.own.of(torch.from_numpy(fold))
        with torch.no_grad():
            found[fold] = problem.fitted(decay, rest).probabilities(own).numpy()
    return found


def _best(uars: dict[str, float]) -> str:
    """Return the best method; the least change among equals."""
    return max(uars, key=lambda method: round(uars[method], 3))


def _chosen_elsewhere(
    problem: Problem,
    answers: dict[str, np.ndarray],
    folds: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the probabilities of each fold by the method that is best on the others.

    A figure on segments that the method was chosen on would flatter it.
    """
    honest = np.zeros_like(answers[UNCHANGED])
    for fold in folds:
        uars = {method: _uar_without(problem, p, fold) for method, p in answers.items()}
        honest[fold] = answers[_best(uars)][fold]
    return honest


def _uar_without(problem: Problem, p: np.ndarray, fold: np.ndarray) -> float:
    own = problem.judged(p)
    used = ~np.isin(own.segment, problem.rows[fold])
    return uar_of(own.of(used)) if used.any() else 0.0

"""Adapting a bundle to labels: start with `adapt`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

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
from ser_batch.training.adapting.learners import (
    Fitted,
    Learner,
    ProfiledLearner,
    load_learner,
)
from ser_batch.training.adapting.mixing import heard_of_corpora
from ser_batch.training.adapting.problem import Problem
from ser_batch.training.adapting.tuning import Heard
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.evaluation.own_calls import profile_speech, segment_waveforms

FOLDS = 5
FINE_TUNED = "fine-tuned"
HEADS: dict[str, float | None] = {
    UNCHANGED: None,
    "recalibrated": float("inf"),
    "a new head, far from the old": 0.3,
    "a new head": 3.0,
    "a new head, near the old": 30.0,
}
"""What is tried, with the penalty of a change (`fit_head`)."""
Fit = Callable[[np.ndarray], Fitted]
"""Fits to some of the segments."""


def adapt(
    name: str,
    labelling: Labelling,
    out: Path,
    device: str = "auto",
    seed: int = 0,
    mix: Sequence[str] = (),
    progress: Callable[[Sequence[Clip]], Iterator[Clip]] = iter,
) -> Adapted:
    """Fit the last layers of a bundle to labels, and write it as a bundle of its own.

    Several methods are tried by cross-validation over recordings. The figures of each
    recording come from a head that was neither fitted to it nor chosen on it. If no
    method is better than none, nothing is written.

    Args:
        name: the name of a shipped bundle, or the path of any bundle.
        labelling: a folder of segments with labels.
        out: the folder of the new bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the folds, and of fine-tuning.
        mix: corpora of which clips are mixed in for fine-tuning, as `NAME=PATH`.
        progress: wraps the clips while they are read.

    Raises:
        BundleError: there is no such bundle, or the new one cannot be written.
        UsageError: there are too few labels, they are all the same, or the bundle is of
            a kind that cannot be adapted.
    """
    out = out.resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out {out}: is not an empty folder", option="--out")
    learner = load_learner(name, device)
    labels = read_labels(labelling)
    waveforms = segment_waveforms(labelling, learner.sample_rate)
    learner.set_place(profile_speech(labelling, waveforms))
    mixed = _mixed(learner, mix, seed, progress)
    problem = Problem.of(learner, labelling, labels, waveforms, mixed)
    folds = _folds(problem.recordings, seed)
    methods = _methods(problem, seed)
    answers = {name: _held_out(problem, fit, folds) for name, fit in methods.items()}
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
        fitted = methods[chosen](np.arange(len(problem.rows)))
        write_adapted(out, name, problem, fitted, answers[chosen], adapted)
    return adapted


def _mixed(
    learner: Learner,
    mix: Sequence[str],
    seed: int,
    progress: Callable[[Sequence[Clip]], Iterator[Clip]],
) -> Heard | None:
    if not mix:
        return None
    if not isinstance(learner, ProfiledLearner):
        raise UsageError(
            "--mix: only the last layer of this bundle can be adapted, and nothing is "
            "mixed in for that",
            option="--mix",
        )
    return heard_of_corpora(learner, mix, seed, progress)


def _methods(problem: Problem, seed: int) -> dict[str, Fit]:
    """Return what is tried, from the least change to the greatest."""
    methods: dict[str, Fit] = {
        name: partial(problem.fitted, decay) for name, decay in HEADS.items()
    }
    if problem.heard is not None:
        methods[FINE_TUNED] = partial(problem.tuned, seed=seed)
    return methods


def _folds(recordings: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the segments of each fold; a recording is in one fold only."""
    names = np.unique(recordings)
    shuffled = np.random.default_rng(seed).permutation(names)
    parts = np.array_split(shuffled, min(FOLDS, len(names)))
    return [np.flatnonzero(np.isin(recordings, part)) for part in parts]


def _held_out(
    problem: Problem, fit: Fit, folds: Sequence[np.ndarray]
) -> Float[np.ndarray, "segments labels"]:
    """Return the probabilities of each segment, by what was not fitted to its fold."""
    found = np.zeros((len(problem.rows), len(problem.learner.labels)))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(problem.rows)), fold)
        found[fold] = problem.probabilities(fit(rest), fold)
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

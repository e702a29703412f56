"""Adapting a bundle to labels: start with `adapt`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.answers import Answers, certainty
from ser_batch.emotion.bundle_files import find_bundle, read_json
from ser_batch.emotion.bundles import Bundle, load_bundle, save_bundle
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_scorer import ProfiledScorer
from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import Labels, read_labels
from ser_batch.labelling.folder import SAME, Labelling
from ser_batch.reporting.figures.labelled import (
    Judged,
    figures_of,
    judged,
    uar_difference,
)
from ser_batch.training.adapting.heads import Described, Head, fit_head
from ser_batch.training.evaluation.own_calls import profile_speech, segment_waveforms
from ser_batch.version import __version__

FOLDS = 5
LEAST_LABELS, LEAST_RECORDINGS = 20, 5
UNCHANGED = "unchanged"
METHODS: dict[str, float | None] = {
    UNCHANGED: None,
    "priors": float("inf"),
    "a new head, far from the old": 0.3,
    "a new head": 3.0,
    "a new head, near the old": 30.0,
}
"""What is tried, with the penalty of a change (`fit_head`)."""
COVERAGE = 0.8


@dataclass(frozen=True)
class Adapted:
    """What came of adapting a bundle.

    `before` and `after` are figures on recordings that the head was not fitted to.
    """

    method: str
    before: dict[str, Any]
    after: dict[str, Any]
    gain: float
    """After minus before, in UAR."""
    gain_95: tuple[float, float] | None
    by_method: dict[str, float]
    """The UAR of each method, on recordings that it was not fitted to."""
    segments: int
    recordings: int
    labels: dict[str, float]

    @property
    def is_written(self) -> bool:
        """Whether a method is better than none, so that there is a bundle."""
        return self.method != UNCHANGED and self.gain > 0

    @property
    def is_proven(self) -> bool:
        """Whether the interval of the gain lies above 0."""
        return self.gain_95 is not None and self.gain_95[0] > 0


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
    bundle = load_bundle(name)
    if isinstance(bundle, Bundle):
        raise UsageError(
            f"bundle {name} normalises by speaker and cannot be adapted; telephone can"
        )
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out}: is not an empty folder", option="--out")
    labels = read_labels(labelling)
    scorer = ProfiledScorer(bundle, device)
    waveforms = segment_waveforms(labelling, scorer.sample_rate)
    scorer = scorer.with_profile(
        scorer.profile_of(profile_speech(labelling, waveforms))
    )
    problem = _Problem.of(bundle, scorer, labelling, labels, waveforms)
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
        _write(out, name, bundle, problem, head, answers[chosen], adapted, labelling)
    return adapted


@dataclass(frozen=True)
class _Problem:
    """Labelled segments, as the last layer sees them."""

    head: Head
    own: Described
    rows: Int[np.ndarray, " segments"]
    """Which segments of the folder they are."""
    shares: Float[np.ndarray, "segments offered"]
    recordings: np.ndarray
    synonyms: torch.Tensor
    offered: tuple[str, ...]
    labelling: Labelling
    labels: Labels
    model_labels: tuple[str, ...]

    @staticmethod
    def of(
        bundle: ProfiledBundle,
        scorer: ProfiledScorer,
        labelling: Labelling,
        labels: Labels,
        waveforms: Sequence[np.ndarray],
    ) -> "_Problem":
        if bundle.network.members > 1:
            raise UsageError(
                f"bundle {bundle.name} has {bundle.network.members} members; only a "
                "bundle of one can be adapted"
            )
        offered = labelling.record.labels
        shares = labels.shares(offered)
        rows = np.flatnonzero(shares.any(axis=1))
        recordings = labelling.segments.recording_id.to_numpy()[rows]
        _check(labelling, shares[rows], recordings)
        roles = list(labelling.segments.role.fillna(""))
        pooled, arousal = scorer.described(
            [waveforms[int(i)] for i in rows], [roles[int(i)] for i in rows]
        )
        right, synonyms = _right(shares[rows], offered, bundle.labels)
        member = bundle.modules()[0]
        n = len(bundle.labels)
        head = Head(
            member.heads.weight[:n].detach(),
            member.heads.bias[:n].detach(),
            torch.tensor(bundle.aroused),
            bundle.calibration,
        )
        own = Described(pooled, right, arousal)
        return _Problem(
            head, own, rows, shares[rows], recordings, synonyms, offered, labelling,
            labels, bundle.labels,
        )  # fmt: skip

    def fitted(self, decay: float | None, rows: np.ndarray) -> Head:
        """Return a head fitted to some of the segments."""
        if decay is None:
            return self.head
        own = self.own.of(torch.from_numpy(rows))
        return fit_head(self.head, own, self.synonyms, decay)

    def judged(self, probabilities: np.ndarray) -> Judged:
        """Return the segments drawn at random, with a model's probabilities."""
        every = np.zeros((len(self.labelling.segments), probabilities.shape[1]))
        every[self.rows] = probabilities
        calibration = self.head.calibration
        kept = certainty(every, calibration.alike) >= calibration.abstain_below
        return judged(self.labelling, self.labels, every, kept, self.model_labels)

    def uar(self, probabilities: np.ndarray) -> float:
        """Return the UAR on the segments drawn at random."""
        return float(figures_of(self.judged(probabilities))["uar"])


def _check(labelling: Labelling, shares: np.ndarray, recordings: np.ndarray) -> None:
    n, of = len(shares), len(set(recordings))
    if n < LEAST_LABELS or of < LEAST_RECORDINGS:
        raise UsageError(
            f"{labelling.folder}: {n} labelled segments of {of} recordings; adapting "
            f"needs {LEAST_LABELS} of {LEAST_RECORDINGS} at least, and 200 or more to "
            "be worth it",
            path=labelling.folder,
        )
    if (shares.sum(axis=0) > 0).sum() < 2:
        raise UsageError(
            f"{labelling.folder}: all labels are the same: there is nothing to learn",
            path=labelling.folder,
        )


def _right(
    shares: np.ndarray, offered: Sequence[str], model_labels: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shares by label of the model, and which of its labels are one."""
    right = torch.zeros(len(shares), len(model_labels))
    n = len(model_labels)
    synonyms = torch.eye(n)
    for i, label in enumerate(model_labels):
        if label in offered:
            right[:, i] = torch.from_numpy(shares[:, list(offered).index(label)])
        elif (other := SAME.get(label)) in model_labels:
            synonyms[i, list(model_labels).index(str(other))] = 1
    return right, synonyms


def _folds(recordings: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the segments of each fold; a recording is in one fold only."""
    names = np.unique(recordings)
    shuffled = np.random.default_rng(seed).permutation(names)
    parts = np.array_split(shuffled, min(FOLDS, len(names)))
    return [np.flatnonzero(np.isin(recordings, part)) for part in parts]


def _held_out(
    problem: _Problem, decay: float | None, folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the probabilities of each segment, by a head not fitted to its fold."""
    found = np.zeros((len(problem.rows), len(problem.model_labels)))
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
    problem: _Problem,
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


def _uar_without(problem: _Problem, p: np.ndarray, fold: np.ndarray) -> float:
    own = problem.judged(p)
    used = ~np.isin(own.segment, problem.rows[fold])
    return float(figures_of(own.of(used))["uar"]) if used.any() else 0.0


def _write(
    out: Path,
    name: str,
    bundle: ProfiledBundle,
    problem: _Problem,
    head: Head,
    held_out: np.ndarray,
    adapted: Adapted,
    labelling: Labelling,
) -> None:
    weights = dict(bundle.weights)
    n = len(bundle.labels)
    for what, changed in (("weight", head.weight), ("bias", head.bias)):
        key = f"members.0.heads.{what}"
        weights[key] = torch.cat([changed, weights[key][n:]])
    calibration = replace(head.calibration, answers=_answers(problem, held_out))
    new = replace(
        bundle, name=out.name, weights=weights, calibration=calibration, model_id=""
    )
    folder = find_bundle(name)
    metrics = read_json(folder / "metrics.json")
    metrics["adapted"] = {
        "ser_version": __version__,
        "from": bundle.model_id,
        "method": adapted.method,
        "segments": adapted.segments,
        "recordings": adapted.recordings,
        "labels": adapted.labels,
        "labellers": len(problem.labels.answers),
        "before": adapted.before,
        "after": adapted.after,
        "gain": adapted.gain,
        "gain_95": adapted.gain_95,
        "uar_by_method": adapted.by_method,
    }
    metrics["calibration"] = to_plain(calibration)
    card = (folder / "README.md").read_text(encoding="utf-8")
    save_bundle(out, new, metrics, card_of(out.name, bundle.model_id, adapted, card))


def _answers(problem: _Problem, probabilities: np.ndarray) -> Answers:
    """Return the mean probabilities by true label, on recordings not fitted to."""
    answers = {}
    for i, label in enumerate(problem.offered):
        share = problem.shares[:, i]
        if share.sum() >= 1:
            mean = share @ probabilities / share.sum()
            answers[label] = [round(float(p), 4) for p in mean]
    return {"own calls": answers}


def card_of(name: str, model_id: str, adapted: Adapted, card: str) -> str:
    """Return the card of an adapted bundle: what was done, and the card it had."""
    labels = ", ".join(f"{label} {n:g}" for label, n in adapted.labels.items() if n)
    between = ""
    if adapted.gain_95:
        low, high = adapted.gain_95
        between = f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    proven = (
        ""
        if adapted.is_proven
        else " The interval includes 0: that is no proof of a gain."
    )
    title, _, rest = card.partition("\n")
    return f"""# {name}

{model_id}, adapted to {adapted.segments} labelled segments of {adapted.recordings}
recordings of one centre ({labels}) by `ser adapt`, version {__version__}:
{adapted.method}.

On recordings that the head was neither fitted to nor chosen on, the UAR was
{adapted.before["uar"]:.1%} before and {adapted.after["uar"]:.1%} after:
{100 * adapted.gain:+.1f} points{between}.{proven} The figures below are those of
{title.removeprefix("# ")}, before it was adapted.
{rest}"""

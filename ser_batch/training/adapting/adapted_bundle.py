"""The bundle that comes of adapting another one, and its card."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.answers import Answers
from ser_batch.emotion.bundle_files import find_bundle, read_json
from ser_batch.training.adapting.learners import Fitted
from ser_batch.training.adapting.problem import Problem
from ser_batch.version import __version__

UNCHANGED = "unchanged"


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


def write_adapted(
    out: Path,
    name: str,
    problem: Problem,
    fitted: Fitted,
    held_out: np.ndarray,
    adapted: Adapted,
) -> None:
    """Write a bundle with other last layers.

    Args:
        out: the folder of the new bundle.
        name: the name or path of the bundle that was adapted.
        problem: what it was adapted to.
        fitted: what was fitted to all labels.
        held_out: the probabilities of each segment by what was not fitted to it.
        adapted: what came of it.

    Raises:
        BundleError: the folder cannot be written.
    """
    head = fitted.head
    calibration = replace(head.calibration, answers=_answers(problem, held_out))
    learner = problem.learner
    folder = find_bundle(name)
    metrics = read_json(folder / "metrics.json")
    metrics["adapted"] = {
        "ser_version": __version__,
        "from": learner.model_id,
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
    card = card_of(out.name, learner.model_id, adapted, card)
    new = replace(fitted, head=replace(head, calibration=calibration))
    learner.write(out, new, metrics, card)


def _answers(problem: Problem, probabilities: np.ndarray) -> Answers:
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

On recordings that it was neither fitted to nor chosen on, the UAR was
{adapted.before["uar"]:.1%} before and {adapted.after["uar"]:.1%} after:
{100 * adapted.gain:+.1f} points{between}.{proven} The figures below are those of
{title.removeprefix("# ")}, before it was adapted.
{rest}"""

"""The measures of a report, each a ratio of two sums over recordings.

They are listed in measures.toml.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_batch.reporting.figures.database import quoted
from ser_batch.reporting.figures.estimates import Scale

MEASURES = tomllib.loads(
    (Path(__file__).parent / "measures.toml").read_text(encoding="utf-8")
)
OF_MANY = frozenset(
    ("recordings", "done", "failed", "failed_share", "episodes", "episode_share",
     "angry_episode_share", "fearful_episode_share", "escalated_share",
     "recovered_share", "one_sided_share", "audio_h", "talk_h", "scored_h")
)  # fmt: skip
"""Measures that add nothing for a single recording."""
SCALES = {
    "rate": Scale.log, "seconds": Scale.log, "offset": Scale.identity,
    "score": Scale.identity, "count": Scale.total,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure over recordings: the sum of `over` divided by the sum of `by`.

    Both are SQL expressions over a row of `calls`. Rows in which either is null are
    ignored.
    """

    name: str
    over: str
    by: str
    unit: str
    meaning: str
    kind: str = "share"
    """How the value is formatted.

    share (a percentage), rate, seconds, offset (seconds, possibly negative), score, or
    count (a plain sum).
    """

    @property
    def scale(self) -> Scale:
        """The scale on which the interval is symmetric."""
        if self.kind == "share":
            return Scale.proportion if self.by == "1" else Scale.logit
        return SCALES[self.kind]

    @property
    def of_one(self) -> str:
        """SQL for the value of a single row."""
        return f"(({self.over})::DOUBLE / nullif(({self.by})::DOUBLE, 0))"

    @property
    def sql(self) -> str:
        """SQL for the value of a group of rows."""
        over = f"sum(CASE WHEN ({self.by}) IS NOT NULL THEN {self.over} END)"
        by = f"sum(CASE WHEN ({self.over}) IS NOT NULL THEN {self.by} END)"
        return over if self.kind == "count" else f"{over} / nullif({by}, 0)"


def measures_of(labels: Sequence[str]) -> dict[str, Measure]:
    """Return all measures by name: those of measures.toml, and each label's share."""
    own = {name: Measure(name=name, **values) for name, values in MEASURES.items()}
    shares = {
        name: Measure(
            name,
            quoted(f"p_{label}_s"),
            "scored_s",
            "1",
            f"mean probability of {label}, weighted by scored time",
        )
        for label, name in share_names(labels).items()
    }
    return own | shares


def share_names(labels: Sequence[str]) -> dict[str, str]:
    """Return the measure that is each label's share.

    It is called `angry_share`, or `label_silence_share` where that name is taken.
    """
    return {
        label: f"label_{label}_share"
        if f"{label}_share" in MEASURES
        else f"{label}_share"
        for label in labels
    }


def single_measures(labels: Sequence[str]) -> dict[str, Measure]:
    """Return the measures that are meaningful for a single recording."""
    return {
        name: measure
        for name, measure in measures_of(labels).items()
        if name not in OF_MANY
    }

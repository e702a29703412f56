"""How figures are written, whatever the page."""

from dataclasses import dataclass
from typing import Any

from ser_batch.reporting.figures.groups import Figure, Measure
from ser_batch.reporting.figures.overview import Report

MAX_GROUPS = 30
COMPARED = (
    "distress_share", "angry_share", "sad_share", "happy_share", "valence", "abstained_share", "episode_share",
    "escalated_share", "recovered_share", "silence_share", "overtalk_share", "agent_talk_share", "response_latency_s",
    "interruptions_per_minute", "mean_duration_s", "failed_share",
)  # fmt: skip
"""What a page has room for of the measures; JSON and CSV have all."""
GROUPED = (
    "distress_share",
    "angry_share",
    "valence",
    "episode_share",
    "silence_share",
    "overtalk_share",
)


def number(value: float | None, measure: Measure, signed: bool = False) -> str:
    """A figure as its measure is written: `12.3 %`, `4.1 s`, `-0.08`; a dash where there is none."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    match measure.kind:
        case "share":
            return f"{value * 100:{sign}.1f} %"
        case "seconds":
            return f"{value:{sign}.1f} s"
        case "score" | "rate":
            return f"{value:{sign}.2f}"
        case "count":
            return (
                f"{value:{sign},.0f}"
                if measure.unit != "h"
                else f"{value:{sign},.2f} h"
            )
    return f"{value:{sign}.1f}"


def interval(figure: Figure, measure: Measure, signed: bool = False) -> str:
    """`11.0–13.4`, in the unit of the figure; empty where too few recordings stand behind it."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = (
        number(value, measure, signed).removesuffix(" %").removesuffix(" s")
        for value in (figure.low, figure.high)
    )
    return f"{low} to {high}"


def label_of(measure: Measure) -> str:
    """`angry_share` as `angry share`: the name of a measure as it is read."""
    return measure.name.removesuffix("_s").replace("_", " ")


def group_name(key: Any) -> str:
    """The value of a group as text."""
    return "(unknown)" if key is None else str(key)


@dataclass(frozen=True, slots=True)
class Change:
    """How a measure differs from then, as it is written."""

    name: str
    meaning: str
    now: str
    then: str
    change: str
    interval: str
    is_clear: bool
    """Whether the interval of the difference leaves 0 out."""


def changes(report: Report) -> list[Change]:
    """What has changed of the measures in `COMPARED`; nothing where nothing is compared."""
    rows = []
    for name in COMPARED if report.comparison else ():
        change = report.comparison.change.get(name)  # type: ignore[union-attr]
        if change is not None:
            m, then = report.measures[name], report.comparison.then[name]  # type: ignore[union-attr]
            clear = (
                change.low is not None
                and change.high is not None
                and (change.low > 0 or change.high < 0)
            )
            now, written = (
                number(report.total[name].value, m),
                number(change.value, m, signed=True),
            )
            between = interval(change, m, signed=True)
            rows.append(
                Change(
                    label_of(m),
                    m.meaning,
                    now,
                    number(then.value, m),
                    written,
                    between,
                    clear,
                )
            )
    return rows

"""The wording of figures, shared by all report formats."""

from dataclasses import dataclass
from typing import Any

from ser_batch.reporting.figures.comparison import COMPARED
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.groups import Figure
from ser_batch.reporting.figures.measures import Measure
from ser_batch.reporting.figures.overview import Report

MAX_GROUPS = 30
NOTHING_STANDS_OUT = "Nothing stands out: no call has an episode of distress or anger."


CLEAR = (
    "Bold: beyond chance, by Holm's procedure over these rows; pp: percentage points."
)


def number(value: float | None, measure: Measure, signed: bool = False) -> str:
    """Format a value of a measure: `12.3 %`, `4.1 s`, `-0.08`; a dash for None."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    match measure.kind:
        case "share":
            return f"{value * 100:{sign}.1f} %"
        case "seconds" | "offset":
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
    """Format an interval as `11.0 to 13.4`, in the unit of the figure.

    Empty if the figure has none, since there are too few recordings.
    """
    if figure.low is None or figure.high is None:
        return ""
    low, high = (
        number(value, measure, signed).removesuffix(" %").removesuffix(" s")
        for value in (figure.low, figure.high)
    )
    return f"{low} to {high}"


def label_of(measure: Measure) -> str:
    """Return the name of a measure for display: `angry_share` as `angry share`."""
    return (
        measure.name.removesuffix("_s")
        .replace("_", " ")
        .replace("non talk", "non-talk")
    )


def group_name(key: Any) -> str:
    """Return the value of a group as text."""
    return "(unknown)" if key is None else str(key)


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a measure, formatted."""

    name: str
    meaning: str
    now: str
    then: str
    change: str
    interval: str
    is_clear: bool
    """Whether it is beyond chance, by Holm's procedure over all rows."""


def changes(report: Report) -> list[Change]:
    """Return the changes of the measures in `COMPARED`; empty without a comparison."""
    comparison = report.comparison
    if comparison is None:
        return []
    rows = []
    for name in COMPARED:
        change, m = comparison.change.get(name), report.measures.get(name)
        if change is not None and m is not None:
            rows.append(
                Change(
                    label_of(m),
                    m.meaning,
                    number(report.total[name].value, m),
                    number(comparison.then[name].value, m),
                    difference(change.value, m),
                    interval(change, m, signed=True),
                    name in comparison.clear,
                )
            )
    return rows


def difference(value: float | None, measure: Measure) -> str:
    """Format a change, that of a share in percentage points: `+1.2 pp`."""
    return number(value, measure, signed=True).replace(" %", " pp")


def heading(report: Report) -> str:
    """Return the heading: days and time zone, whose emotions, and the model."""
    whose = {"everyone": "everyone's emotions", "agent": "the agents' emotions"}
    facts = [
        whose.get(report.role, "the customers' emotions"),
        f"model {report.model_id}",
    ]
    if report.first and report.last:
        days = dict.fromkeys(f"{t:%Y-%m-%d}" for t in (report.first, report.last))
        facts.insert(0, f"{' to '.join(days)} ({report.timezone})")
    return " · ".join(facts)


def legend_of_groups(report: Report) -> str:
    """Return the legend of a table of groups, on intervals and bold figures."""
    by_cluster = report.cluster is not None and report.by != report.cluster
    intervals = (
        f"95 % intervals clustered by {report.cluster}, given at least {MIN_UNITS}"
        if by_cluster
        else f"95 % intervals, given at least {MIN_UNITS} calls"
    )
    return f"{intervals}; bold: differs from all other groups combined, beyond chance"

"""Conditions on measures, for `ser report --fail-if`."""

import re
from collections.abc import Callable, Sequence

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.overview import Report


def crossed_thresholds(report: Report, conditions: Sequence[str]) -> list[str]:
    """Return the conditions that hold, each as a line: `angry_share > 0.2 (is 0.31)`.

    `angry_share.low` and `.high` are the ends of the 95 % interval. A measure without a
    value crosses no threshold.

    Raises:
        UsageError: a condition is not `MEASURE OP NUMBER`, or the measure is unknown.
    """
    operators: dict[str, Callable[[float, float], bool]] = {
        ">": float.__gt__, ">=": float.__ge__, "<": float.__lt__, "<=": float.__le__,
    }  # fmt: skip
    crossed = []
    for condition in conditions:
        parsed = re.fullmatch(
            r"\s*(\w+?)(?:\.(low|high))?\s*(>=|<=|>|<)"
            r"\s*(-?\d*\.?\d+(?:[eE]-?\d+)?)(\s*%)?\s*",
            condition,
        )
        if not parsed:
            raise UsageError(
                f"--fail-if {condition!r}: expected MEASURE > NUMBER, for example "
                "'angry_share > 0.2' or 'angry_share.low > 0.2'"
            )
        name, end, operator, number, percent = parsed.groups()
        if name not in report.measures:
            raise UsageError(
                f"--fail-if {condition!r}: unknown measure {name}; choose from "
                f"{', '.join(report.measures)}"
            )
        value: float | None = getattr(report.total[name], end or "value")
        limit = float(number) / (100 if percent else 1)
        if value is not None and operators[operator](value, limit):
            crossed.append(f"{condition.strip()} (is {value:.4g})")
    return crossed

"""The options of a report: which calls, whose emotions, compared with what."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.periods import find_zone, parse_time


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a report."""

    inputs: MetadataInputs = field(default_factory=MetadataInputs)
    since: datetime | None = None
    until: datetime | None = None
    undated: bool = False
    """Whether the file's modification time is used for calls of unknown start."""
    by: str | None = None
    cluster: str | None = None
    """A column whose values are the units of intervals; `none` uses recordings."""
    compare: str | None = None
    """Another results directory, a period `FROM..TO`, or `previous`.

    The last is the same hours, a number of whole days earlier.
    """
    role: str = "customer"
    """Whose emotions, where roles were given: customer or agent."""
    top: int = 20
    labels: Path | None = None
    """A folder of labels; None: that kept with the results, if any."""


def options_of(
    inputs: MetadataInputs,
    since: str | datetime | None,
    until: str | datetime | None,
    timezone: str | None,
    **others: Any,
) -> Options:
    """Return options, with times parsed in one time zone.

    Raises:
        UsageError: the zone is unknown, or a text is not a time.
    """
    zone = find_zone(timezone)
    return Options(
        inputs=replace(inputs, zone=zone),
        since=parse_time(since, zone=zone) if isinstance(since, str) else since,
        until=parse_time(until, True, zone=zone) if isinstance(until, str) else until,
        **others,
    )

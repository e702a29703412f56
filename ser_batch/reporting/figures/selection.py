"""What a report is about: which calls, whose emotions, against what."""

from dataclasses import dataclass, field
from datetime import datetime

from ser_batch.metadata.gathering import MetadataInputs


@dataclass(frozen=True, slots=True)
class Options:
    """What a report is about."""

    inputs: MetadataInputs = field(default_factory=MetadataInputs)
    since: datetime | None = None
    until: datetime | None = None
    undated: bool = False
    """Whether the time of the file's last change stands for a start that is not known."""
    by: str | None = None
    cluster: str | None = None
    """A column whose values are the units of intervals; `none` for single recordings."""
    compare: str | None = None
    """Another results directory, a period `FROM..TO`, or `previous`: the period of the same length before."""
    role: str = "customer"
    """Whose emotions, where roles were named: customer, or agent."""
    top: int = 20

"""The rows of one recording, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one recording: one for `recordings`, any number for the others."""

    recording: dict[str, Any]
    speech: Columns
    segments: Columns

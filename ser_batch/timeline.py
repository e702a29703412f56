"""Seconds, samples and intervals on the clock of one recording. Pure; no other module's business.

There is one rounding rule from seconds to samples, `samples`, and it is the only one that is used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def samples(seconds: float, sample_rate: int) -> int:
    """The sample index nearest to a time in seconds at `sample_rate` Hz (halves go up)."""
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True, order=True, slots=True)
class Segment:
    """A half-open interval [start_s, end_s) in seconds.

    Raises:
        ValueError: the end does not lie after the start, or the start is negative.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(f"a segment needs 0 <= start < end, not [{self.start_s}, {self.end_s})")

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def union(segments: Iterable[Segment]) -> list[Segment]:
    """The same time covered by ordered, disjoint segments; those that touch become one."""
    merged: list[Segment] = []
    for segment in sorted(segments):
        if merged and segment.start_s <= merged[-1].end_s:
            merged[-1] = Segment(merged[-1].start_s, max(merged[-1].end_s, segment.end_s))
        else:
            merged.append(segment)
    return merged


def total_s(segments: Iterable[Segment]) -> float:
    """The time covered by at least one of the segments, in seconds."""
    return sum(segment.duration_s for segment in union(segments))


def overlap_s(tracks: Sequence[Iterable[Segment]]) -> float:
    """The time covered by at least two of the tracks, in seconds."""
    edges: list[tuple[float, int]] = []
    for track in tracks:
        for segment in union(track):
            edges += [(segment.start_s, 1), (segment.end_s, -1)]
    overlap, active, since = 0.0, 0, 0.0
    for time_s, step in sorted(edges):
        if active >= 2:
            overlap += time_s - since
        active, since = active + step, time_s
    return overlap

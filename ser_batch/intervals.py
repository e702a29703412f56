"""Seconds, samples and intervals on the clock of one recording.

There is one rounding rule from seconds to samples, `sample_index`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def sample_index(seconds: float, sample_rate: int) -> int:
    """Return the sample nearest to a time in seconds at `sample_rate` Hz.

    Halves go up.
    """
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True, order=True, slots=True)
class Interval:
    """A half-open stretch of time [start_s, end_s) in seconds.

    Raises:
        ValueError: the end does not come after the start, or the start is negative.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(
                "an interval needs 0 <= start < end, "
                f"not [{self.start_s}, {self.end_s})"
            )

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.end_s - self.start_s


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same time as ordered, disjoint intervals.

    Those that touch become one.
    """
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if merged and interval.start_s <= merged[-1].end_s:
            end_s = max(merged[-1].end_s, interval.end_s)
            merged[-1] = Interval(merged[-1].start_s, end_s)
        else:
            merged.append(interval)
    return merged


def total_s(intervals: Iterable[Interval]) -> float:
    """Return the time covered by at least one of the intervals, in seconds."""
    return sum(interval.duration_s for interval in union(intervals))


def overlap_s(tracks: Sequence[Iterable[Interval]]) -> float:
    """Return the time covered by at least two of the tracks, in seconds."""
    edges: list[tuple[float, int]] = []
    for track in tracks:
        for interval in union(track):
            edges += [(interval.start_s, 1), (interval.end_s, -1)]
    overlap, active, since = 0.0, 0, 0.0
    for time_s, step in sorted(edges):
        if active >= 2:
            overlap += time_s - since
        active, since = active + step, time_s
    return overlap

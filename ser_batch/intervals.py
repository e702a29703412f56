"""Seconds, samples and intervals on the timeline of one recording.

`sample_index` is the only rounding rule from seconds to samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


def sample_index(seconds: float, sample_rate: int) -> int:
    """Return the index of the sample nearest to a time, at `sample_rate` Hz.

    Halves are rounded up.
    """
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True, order=True, slots=True)
class Interval:
    """A half-open interval [start_s, end_s), in seconds.

    Raises:
        ValueError: the end is not after the start, or the start is negative.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(
                "an interval needs 0 <= start < end, "
                f"got [{self.start_s}, {self.end_s})"
            )

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.end_s - self.start_s


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Merge intervals into ordered, disjoint ones.

    Touching intervals are joined.
    """
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if merged and interval.start_s <= merged[-1].end_s:
            end_s = max(merged[-1].end_s, interval.end_s)
            merged[-1] = Interval(merged[-1].start_s, end_s)
        else:
            merged.append(interval)
    return merged


def divided(
    interval: Interval, parts: Iterable[Interval]
) -> Iterator[tuple[Interval, bool]]:
    """Yield the pieces of an interval, and whether each lies within one of the parts.

    Args:
        interval: the interval to divide.
        parts: ordered and disjoint.
    """
    at = interval.start_s
    for part in parts:
        start_s, end_s = max(part.start_s, at), min(part.end_s, interval.end_s)
        if start_s >= end_s:
            continue
        if at < start_s:
            yield Interval(at, start_s), False
        yield Interval(start_s, end_s), True
        at = end_s
    if at < interval.end_s:
        yield Interval(at, interval.end_s), False


def total_s(intervals: Iterable[Interval]) -> float:
    """Return the total time covered by at least one interval, in seconds."""
    return sum(interval.duration_s for interval in union(intervals))


def overlap_s(tracks: Sequence[Iterable[Interval]]) -> float:
    """Return the total time covered by at least two tracks, in seconds."""
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

"""Interval algebra and rounding."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.intervals import (
    Interval,
    divided,
    overlap_s,
    sample_index,
    total_s,
    union,
)

RATES = st.sampled_from([8000, 11025, 16000, 44100, 48000])


@st.composite
def milliseconds(draw) -> set[tuple[int, int]]:
    starts = draw(st.lists(st.integers(0, 200), max_size=8))
    return {(start, start + draw(st.integers(1, 50))) for start in starts}


def segments(pairs) -> list[Interval]:
    return [Interval(start / 1000, end / 1000) for start, end in pairs]


def covered(pairs) -> set[int]:
    return {t for start, end in pairs for t in range(start, end)}


@given(st.integers(0, 48000 * 36000), RATES)
def test_every_sample_index_survives_a_round_trip_through_seconds(index, rate):
    assert sample_index(index / rate, rate) == index


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1), (-1, 1)])
def test_empty_reversed_and_negative_intervals_are_refused(start, end):
    with pytest.raises(ValueError, match="0 <= start < end"):
        Interval(start, end)


@given(milliseconds())
def test_a_union_is_ordered_disjoint_and_covers_the_same_time(pairs):
    result = union(segments(pairs))
    assert all(a.end_s < b.start_s for a, b in pairwise(result))
    assert covered(
        (round(s.start_s * 1000), round(s.end_s * 1000)) for s in result
    ) == covered(pairs)
    assert total_s(segments(pairs)) == pytest.approx(len(covered(pairs)) / 1000)


@given(st.lists(milliseconds(), max_size=4))
def test_overlap_is_the_time_shared_by_two_or_more_tracks(tracks):
    times = [t for pairs in tracks for t in covered(pairs)]
    shared = {t for t in times if times.count(t) >= 2}
    assert overlap_s([segments(pairs) for pairs in tracks]) == pytest.approx(
        len(shared) / 1000
    )


@given(milliseconds(), milliseconds())
def test_a_divided_interval_is_covered_once_and_knows_what_is_in_the_parts(a, b):
    parts = union(segments(b))
    for interval in segments(a):
        pieces = list(divided(interval, parts))
        assert pieces[0][0].start_s == interval.start_s
        assert pieces[-1][0].end_s == interval.end_s
        for (before, _), (after, _) in pairwise(pieces):
            assert before.end_s == after.start_s
        for piece, is_part in pieces:
            middle = (piece.start_s + piece.end_s) / 2
            assert is_part == any(p.start_s <= middle < p.end_s for p in parts)

"""The last minute of a call shows each second as it was said to be."""

from hypothesis import given
from hypothesis import strategies as st

from ser_batch.live.events import Event, SegmentScored, SpeechHeard
from ser_batch.live.last_minute import SHOWN_S, UNDECIDED_S, LastMinute


def scored(
    start_s: float, end_s: float, distress: float | None, is_final: bool = True
) -> SegmentScored:
    return SegmentScored(
        0, None, start_s, end_s, None, None, {}, distress, -20.0, {}, is_final
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300), st.integers(1, 90), st.sampled_from([None, 0.2, 0.8])
        ),
        max_size=12,
    )
)
def test_seconds_are_those_of_the_latest_events(spans):
    """Whatever the order in which they come, and however long they are."""
    last_minute, expected = LastMinute(1), {}
    newest = 0
    for start, length, distress in spans:
        event: Event = scored(start, start + length, distress)
        if distress is None:
            event = SpeechHeard(0, None, start, start + length)
        last_minute.add(event)
        newest = max(newest, start + length)
        for second in range(start, start + length):
            if distress is not None or second not in expected:
                expected[second] = True if distress is None else distress
    now_s = max(newest - 0.5, 0.0)
    first = max(0, int(now_s) - SHOWN_S + 1)
    seconds = [expected.get(own, False) for own in range(first, int(now_s) + 1)]
    assert last_minute.seconds(0, now_s) == seconds
    numbers = [own for own in seconds if not isinstance(own, bool)]
    found = last_minute.distress(now_s)
    assert (found is None) == (not numbers)
    if numbers:
        assert abs(found - sum(numbers) / len(numbers)) < 1e-9


def test_a_model_without_distress_shows_speech_alone():
    last_minute = LastMinute(1)
    last_minute.add(scored(1.0, 2.0, None))
    assert last_minute.seconds(0, 2.5) == [False, True, False]
    assert last_minute.distress(2.5) is None


def test_a_provisional_score_is_shown_until_it_is_decided_and_never_counts():
    """It may be of the other side's voice, which is removed only later."""
    last_minute = LastMinute(1)
    last_minute.add(scored(0.0, 2.0, 0.2))
    last_minute.add(scored(4.0, 6.0, 0.9, is_final=False))
    last_minute.add(scored(4.0, 8.0, 0.8, is_final=False))
    assert last_minute.unfinished(0, 8.5) == (4, 7, 0.8)
    assert last_minute.distress(8.5) == 0.2
    assert last_minute.seconds(0, 8.5) == [0.2, 0.2, *[False] * 7]
    # After more than a minute, places are those of the seconds that are left.
    assert last_minute.unfinished(0, 8.5 + UNDECIDED_S) is None
    last_minute.add(scored(64.0, 69.0, 0.7, is_final=False))
    assert last_minute.unfinished(0, 69.5) == (54, 58, 0.7)
    last_minute.add(scored(64.0, 69.0, 0.6))
    assert last_minute.unfinished(0, 69.5) is None
    assert last_minute.distress(69.5) == 0.6


def test_what_is_older_than_a_minute_is_forgotten():
    last_minute = LastMinute(2)
    for second in range(1000):
        last_minute.add(scored(second, second + 1, 0.5))
    assert len(last_minute._known[0]) == SHOWN_S

"""Text and figures formatted for people."""

from ser_batch.text import clock


def test_times_are_shown_in_minutes_and_hours():
    assert [clock(s) for s in (0, 61, 3600, 36061)] == [
        "00:00",
        "01:01",
        "1:00:00",
        "10:01:01",
    ]

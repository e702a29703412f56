"""Words and figures as people read them."""

from ser_batch.text import clock


def test_a_clock_reads_minutes_and_hours():
    assert [clock(s) for s in (0, 61, 3600, 36061)] == [
        "00:00",
        "01:01",
        "1:00:00",
        "10:01:01",
    ]

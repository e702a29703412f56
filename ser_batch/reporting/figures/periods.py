"""Times as people write them: a day, a moment, so long ago."""

import re
from datetime import date, datetime, time, timedelta

from ser_batch.errors import UsageError


def parse_time(text: str, end: bool = False, now: datetime | None = None) -> datetime:
    """A local time: `2026-01-31`, `2026-01-31T14:00`, or `7d`, `36h`: so long ago.

    A day as the `end` of a period is meant with all its hours.

    >>> parse_time("2026-01-31", end=True)
    datetime.datetime(2026, 2, 1, 0, 0)
    >>> parse_time("7d", now=datetime(2026, 1, 31, 12))
    datetime.datetime(2026, 1, 24, 12, 0)

    Raises:
        UsageError: it is no time.
    """
    text = text.strip()
    if ago := re.fullmatch(r"(\d{1,5})([dh])", text):
        unit = timedelta(days=1) if ago[2] == "d" else timedelta(hours=1)
        try:
            return (now or datetime.now()) - int(ago[1]) * unit
        except OverflowError:
            raise UsageError(f"{text!r} is beyond what a calendar holds") from None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text)
            return datetime.combine(day, time()) + timedelta(days=int(end))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T14:00, 7d or 36h"
        ) from None
    try:
        return moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError:
        raise UsageError(f"{text!r} is beyond what a calendar holds") from None

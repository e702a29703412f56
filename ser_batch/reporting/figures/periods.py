"""Times as people write them: a day, a moment, so many days; by the clock of one time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ser_batch.errors import UsageError

WORDS = {"today": 0, "yesterday": 1}


def find_zone(name: str | None) -> tzinfo | None:
    """Return the time zone of this name, `Europe/Berlin`; None, for this machine's, if there is none.

    Raises:
        UsageError: there is no such zone.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"--timezone {name}: there is no such time zone; write it as Europe/Berlin",
            option="--timezone",
        ) from None


def zone_name(zone: tzinfo | None) -> str:
    """Return what a zone is called: its name, or the abbreviation of this machine's."""
    return str(zone) if zone is not None else datetime.now().astimezone().tzname() or ""


def local_now(zone: tzinfo | None = None) -> datetime:
    """Return what the clock shows in a zone."""
    return datetime.now(zone).replace(tzinfo=None)


def parse_time(
    text: str,
    end: bool = False,
    now: datetime | None = None,
    zone: tzinfo | None = None,
) -> datetime:
    """A local time: `2026-01-31`, `2026-01-31T14:00`, `today`, `yesterday`, `7d`, `36h`.

    A day as the `end` of a period is meant with all its hours. So many days are whole
    ones, today being the last.

    >>> parse_time("2026-01-31", end=True)
    datetime.datetime(2026, 2, 1, 0, 0)
    >>> parse_time("7d", now=datetime(2026, 1, 31, 12))
    datetime.datetime(2026, 1, 25, 0, 0)

    Raises:
        UsageError: it is no time.
    """
    text, now = text.strip(), now or local_now(zone)
    today = datetime.combine(now.date(), time())
    try:
        if text in WORDS:
            return today - timedelta(days=WORDS[text] - int(end))
        if ago := re.fullmatch(r"([1-9]\d{0,4})([dh])", text):
            if ago[2] == "h":
                return _hours_before(now, int(ago[1]), zone)
            return today - timedelta(days=int(ago[1]) - 1)
    except OverflowError:
        raise UsageError(f"{text!r} is beyond what a calendar holds") from None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", text):
            day = date.fromisoformat(text)
            return datetime.combine(day, time()) + timedelta(days=int(end))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T14:00, today, yesterday, "
            "7d or 36h"
        ) from None
    try:
        if moment.tzinfo:
            moment = moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise UsageError(f"{text!r} is beyond what a calendar holds") from None
    return moment


def _hours_before(now: datetime, hours: int, zone: tzinfo | None) -> datetime:
    """So long ago on a stopwatch, also where clocks were put forward or back since."""
    moment = now.replace(tzinfo=zone) if zone else now.astimezone()
    earlier = moment.astimezone(UTC) - timedelta(hours=hours)
    return earlier.astimezone(zone).replace(tzinfo=None)

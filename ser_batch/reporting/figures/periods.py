"""Parsing of times: a day, a point in time, a number of days; in one time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ser_batch.errors import UsageError
from ser_batch.text import did_you_mean

WORDS = {"today": 0, "yesterday": 1}


def find_zone(name: str | None) -> tzinfo | None:
    """Return the time zone of a name such as `Europe/Berlin`.

    Without a name, return None, which means the time zone of this machine.

    Raises:
        UsageError: the zone is unknown.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"--timezone {name}: unknown time zone; use a name such as Europe/Berlin",
            option="--timezone",
        ) from None


def zone_name(zone: tzinfo | None) -> str:
    """Return the name of a zone, or the abbreviation of this machine's zone."""
    return str(zone) if zone is not None else datetime.now().astimezone().tzname() or ""


def local_now(zone: tzinfo | None = None) -> datetime:
    """Return the local time in a zone."""
    return datetime.now(zone).replace(tzinfo=None)


def parse_time(
    text: str,
    end: bool = False,
    now: datetime | None = None,
    zone: tzinfo | None = None,
) -> datetime:
    """Return the local time meant by a text.

    A text may be `2026-01-31`, `2026-01-31T14:00`, `today`, `yesterday`, `7d` or `36h`.
    A day as the `end` of a period includes all its hours. A number of days refers to
    whole days, of which today is the last.

    >>> parse_time("2026-01-31", end=True)
    datetime.datetime(2026, 2, 1, 0, 0)
    >>> parse_time("7d", now=datetime(2026, 1, 31, 12))
    datetime.datetime(2026, 1, 25, 0, 0)

    Raises:
        UsageError: the text is not a time.
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
        raise UsageError(f"{text!r} is out of range for a calendar date") from None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", text):
            day = date.fromisoformat(text)
            return datetime.combine(day, time()) + timedelta(days=int(end))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time: use 2026-01-31, 2026-01-31T14:00, today, "
            "yesterday, 7d or 36h"
        ) from None
    try:
        if moment.tzinfo:
            moment = moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise UsageError(f"{text!r} is out of range for a calendar date") from None
    return moment


def parse_period(
    text: str, now: datetime | None = None, zone: tzinfo | None = None
) -> tuple[datetime, datetime | None]:
    """Return the beginning and the end of a period; None if it lasts until now.

    A period may be `today`, `yesterday`, `week` or `month` (the current one),
    `last-week`, `last-month`, `10d` or `2w` (whole days, including today), or
    `FROM..TO`; or it is a day, `2026-01-31`. Weeks begin on Monday.

    >>> parse_period("last-month", now=datetime(2026, 1, 31, 12))
    (datetime.datetime(2025, 12, 1, 0, 0), datetime.datetime(2026, 1, 1, 0, 0))

    Raises:
        UsageError: the text is not a period.
    """
    text, now = text.strip(), now or local_now(zone)
    start, dots, end = text.partition("..")
    if dots and start and end:
        return parse_time(start, False, now, zone), parse_time(end, True, now, zone)
    today = datetime.combine(now.date(), time())
    week = today - timedelta(days=today.weekday())
    month = today.replace(day=1)
    named = {
        "today": (today, None),
        "yesterday": (today - timedelta(days=1), today),
        "week": (week, None),
        "last-week": (week - timedelta(days=7), week),
        "month": (month, None),
        "last-month": ((month - timedelta(days=1)).replace(day=1), month),
    }
    if text in named:
        return named[text]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return parse_time(text, False, now, zone), parse_time(text, True, now, zone)
    if ago := re.fullmatch(r"([1-9]\d{0,3})([dw])", text):
        days = int(ago[1]) * (7 if ago[2] == "w" else 1)
        return parse_time(f"{days}d", False, now, zone), None
    raise UsageError(
        f"--period {text}: use {', '.join(named)}, 10d, 2w, a day or FROM..TO"
        + did_you_mean(text, named),
        option="--period",
    )


def _hours_before(now: datetime, hours: int, zone: tzinfo | None) -> datetime:
    """Subtract elapsed hours, even across a change to or from summer time."""
    moment = now.replace(tzinfo=zone) if zone else now.astimezone()
    earlier = moment.astimezone(UTC) - timedelta(hours=hours)
    return earlier.astimezone(zone).replace(tzinfo=None)

"""Types of metadata columns: numbers, booleans and times, inferred from text."""

import re
import time
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import pandas as pd

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?"
)
DAY_S = 86_400
_EPOCH = re.compile(r"\d{10}(?:\.\d+)?|(\d{13})(?:\.0+)?")
_FORMS = (
    (r"\d{8}-\d{6}", "%Y%m%d-%H%M%S"),
    (r"\d{8}_\d{6}", "%Y%m%d_%H%M%S"),
    (r"\d{14}", "%Y%m%d%H%M%S"),
    (r"\d\d\.\d\d\.\d{4} \d\d:\d\d", "%d.%m.%Y %H:%M"),
    (r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", "%d.%m.%Y %H:%M:%S"),
)


def infer_types(table: pd.DataFrame, zone: tzinfo | None = None) -> pd.DataFrame:
    """Convert text columns to numbers, booleans or times if every value is one.

    Values that would not convert back to the same text stay text: telephone numbers
    with a leading zero or plus, versions such as 1.10, and numbers of more than 15
    digits. `started_at` contains times already.
    """
    columns: dict[str, pd.Series] = {}
    for name in table.columns:
        if name == "started_at":
            columns[name] = pd.to_datetime(
                table[name].map(time_of, na_action="ignore")
            ).astype("datetime64[us]")
        else:
            columns[name] = (
                table[name].astype("str")
                if name == "recording_id"
                else _typed(table[name], zone)
            )
    return pd.DataFrame(columns)


def _typed(values: pd.Series, zone: tzinfo | None) -> pd.Series:
    text = values.map(text_of).astype("object")
    there = text.dropna()
    if there.empty:
        return text.astype("string")
    whole, fraction = r"-?(0|[1-9]\d{0,14})", r"-?(0|[1-9]\d{0,11})\.(\d{0,8}[1-9]|0)"
    if there.str.fullmatch(whole).all():
        return pd.to_numeric(text).astype("Int64")
    if there.str.fullmatch(f"{whole}|{fraction}").all():
        return pd.to_numeric(text).astype("float64")
    if there.str.lower().isin(["true", "false"]).all():
        return text.str.lower().map({"true": True, "false": False}).astype("boolean")
    if there.str.match(r"\d{4}-\d\d-\d\d").all() and there.map(time_of).notna().all():
        times = text.map(partial(time_of, zone=zone), na_action="ignore")
        return pd.to_datetime(times).astype("datetime64[us]")
    return text.astype("string")


def text_of(value: Any) -> str | None:
    """Return a value as the text of a CSV field; None if it is missing or blank."""
    if value is None or value is pd.NaT or value != value:
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text.encode("utf-8", "backslashreplace").decode().strip() or None


def time_of(value: Any, zone: tzinfo | None = None) -> datetime | None:
    """Return a local time without a zone, or None if the value is not a time.

    Times with a zone, and seconds (or milliseconds) since 1970, are converted to
    `zone`, or to the time zone of this machine.
    """
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    try:
        if _ISO.fullmatch(text):
            moment = datetime.fromisoformat(text)
            moment = (
                moment.astimezone(zone).replace(tzinfo=None)
                if moment.tzinfo
                else moment
            )
        elif epoch := _EPOCH.fullmatch(text):
            seconds = int(epoch[1]) / 1000 if epoch[1] else float(text)
            if seconds > time.time() + DAY_S:
                return None  # in the future: not the start of a call, but a number
            moment = datetime.fromtimestamp(seconds, zone).replace(tzinfo=None)
        else:
            form = next(
                (form for pattern, form in _FORMS if re.fullmatch(pattern, text)), None
            )
            moment = datetime.strptime(text, form) if form else None  # type: ignore[assignment]
    except (ValueError, OverflowError):
        return None
    # These are the years that pandas can represent in nanoseconds.
    return moment if moment and 1678 <= moment.year <= 2261 else None

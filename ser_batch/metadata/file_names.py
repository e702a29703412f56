"""Call metadata from file names, by a regular expression with named groups."""

import re

import pandas as pd

from ser_batch.errors import UsageError
from ser_batch.text import counted_examples

NAME_PATTERNS = {
    "freepbx": r"(?P<direction>\w+)-(?P<called>[^-/]+)-(?P<caller>[^-/]+)"
    r"-(?P<started_at>\d{8}-\d{6})-(?P<uniqueid>[\d.]*\d)",
    "3cx": r"\[(?P<agent>[^\]/]*)\]_(?P<extension>[^-_/]+)-(?P<caller>[^_/]+)"
    r"_(?P<started_at>\d{14})",
    "vicidial": r"(?P<started_at>\d{8}-\d{6})_(?P<caller>[^_/-]+)",
    "genesys": r"year=(?P<year>\d{4})/month=(?P<month>\d+)/day=(?P<day>\d+)"
    r"/hour=(?P<hour>\d+)(?P<utc>)/conversation_id=(?P<conversation_id>[^/]+)",
}
"""Patterns for files of common recorders.

FreePBX (Asterisk), 3CX, VICIdial, and Genesys Cloud's export to a bucket, whose folders
give the hour at which a conversation began, in UTC.
"""
DATE = ("year", "month", "day")
CLOCK = ("hour", "minute", "second")


def compile_pattern(given: str) -> re.Pattern[str]:
    """Compile a pattern of `NAME_PATTERNS` given by name, or a regular expression.

    In an expression, `{freepbx}` stands for the pattern of that name.

    Raises:
        UsageError: it is not a regular expression, or has no named group.
    """
    try:
        pattern = re.compile(_expanded(NAME_PATTERNS.get(given, given)))
    except re.error as error:
        raise UsageError(
            f"--name-pattern {given}: neither a regular expression ({error}) nor one "
            f"of {', '.join(NAME_PATTERNS)}"
        ) from error
    if not pattern.groupindex:
        raise UsageError(
            f"--name-pattern {given}: has no named group, for example (?P<queue>\\w+); "
            f"predefined patterns are {', '.join(NAME_PATTERNS)}"
        )
    return pattern


def _expanded(given: str) -> str:
    for name, pattern in NAME_PATTERNS.items():
        given = given.replace(f"{{{name}}}", pattern)
    return given


def metadata_from_names(
    recordings: pd.DataFrame, given: str, notes: list[str]
) -> pd.DataFrame:
    """Return metadata from the paths of recordings, one row each; append to `notes`."""
    pattern = compile_pattern(given)
    found = [pattern.search(path) for path in recordings.path]
    missed = [
        path for path, match in zip(recordings.path, found, strict=True) if not match
    ]
    if missed:
        notes.append(
            f"the name pattern does not match {counted_examples(missed, 'recording')}"
        )
    rows = [_with_start(match.groupdict()) if match else {} for match in found]
    table = pd.DataFrame(rows, dtype="object")
    names = list(table.columns)
    return table.assign(recording_id=recordings.recording_id.to_numpy()).dropna(
        how="all", subset=names
    )


def _with_start(groups: dict[str, str | None]) -> dict[str, str | None]:
    """Join the groups of a date, if there are any, to `started_at`."""
    if not all(groups.get(name) for name in DATE):
        return groups
    year, month, day = (groups.pop(name) for name in DATE)
    clock = ":".join(f"{groups.pop(name, None) or 0:0>2}" for name in CLOCK)
    zone = "" if groups.pop("utc", None) is None else "Z"
    return groups | {"started_at": f"{year}-{month:0>2}-{day:0>2}T{clock}{zone}"}

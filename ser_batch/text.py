"""Formatting of names, times and counts, for the terminal and the results."""

import difflib
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

EXAMPLES = 3
"""Number of names shown of a long list."""


def printable(path: str) -> str:
    r"""Return a path as one printable line.

    Characters that UTF-8 or a terminal cannot represent are escaped.

    >>> printable("a\nb.wav")
    'a\\nb.wav'
    """
    if path.isprintable():
        return path
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def plain_text(value: Any) -> Any:
    """Return a value that no spreadsheet treats as a formula (OWASP, CSV injection).

    >>> plain_text("=HYPERLINK(1)"), plain_text(-1.5), plain_text("a.wav")
    ("'=HYPERLINK(1)", -1.5, 'a.wav')
    """
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def clock(seconds: float) -> str:
    """Format seconds as `mm:ss`, or as `h:mm:ss` from one hour.

    >>> clock(75), clock(3675)
    ('01:15', '1:01:15')
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{minute:02}:{second:02}"


def counted(n: float, noun: str) -> str:
    """Format a number with its noun, singular or plural.

    >>> counted(1, "call"), counted(1200, "call")
    ('1 call', '1,200 calls')
    """
    return f"{n:,.0f} {noun}" if n == 1 else f"{n:,.0f} {noun}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the most similar of some names; empty if none is similar.

    >>> did_you_mean("custmer", ["agent", "customer"])
    '; did you mean customer?'
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def counted_examples(names: Sequence[str], noun: str) -> str:
    """Format the number of names, with the first few of them.

    >>> counted_examples(["a.wav", "b.wav"], "recording")
    '2 recordings (a.wav, b.wav)'
    """
    first = ", ".join(map(printable, names[:EXAMPLES]))
    more = ", ..." if len(names) > EXAMPLES else ""
    return f"{counted(len(names), noun)} ({first}{more})"

"""How names, times and counts are written, on the terminal and in the results."""

import os
from collections.abc import Sequence

EXAMPLES = 3
"""How many names of a long list are given."""


def printable(path: str) -> str:
    """Return a path as one printable line.

    What UTF-8 or a terminal cannot show is escaped.

    >>> printable("a\\nb.wav")
    'a\\\\nb.wav'
    """
    if path.isprintable():
        return path
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def clock(seconds: float) -> str:
    """Return `mm:ss`, or `h:mm:ss` from an hour on.

    >>> clock(75), clock(3675)
    ('01:15', '1:01:15')
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{minute:02}:{second:02}"


def counted(n: float, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "call"), counted(1200, "call")
    ('1 call', '1,200 calls')
    """
    return f"{n:,.0f} {noun}" if n == 1 else f"{n:,.0f} {noun}s"


def counted_examples(names: Sequence[str], noun: str) -> str:
    """Return how many names there are, and the first few of them.

    >>> counted_examples(["a.wav", "b.wav"], "recording")
    '2 recordings (a.wav, b.wav)'
    """
    first = ", ".join(map(printable, names[:EXAMPLES]))
    more = ", ..." if len(names) > EXAMPLES else ""
    return f"{counted(len(names), noun)} ({first}{more})"

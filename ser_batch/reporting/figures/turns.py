"""Who holds the floor, who cuts in, and when nobody speaks.

A *region* is a row of `speech`; those of one channel do not overlap. In the order of
their starts:

- the *floor* is held by the channel whose regions have reached furthest; a region that
  reaches further takes it;
- a *turn* begins with a region that takes the floor from another channel, or is the
  first;
- an *interruption* is a turn that begins `CUT_IN_S` or more before the other has ended
  (the other is cut short: a region that ends before the other does takes no floor, and
  is a backchannel);
- a *response latency* is the pause between the other's end and a turn that does not
  overlap it (floor transfer offset, Heldner & Edlund 2010, where it is not negative).

`turns.sql` is this in SQL; both the measures of many calls and the timeline of one are
made from it.
"""

import string
from dataclasses import dataclass
from pathlib import Path

CUT_IN_S = 0.5
HOLD_S = 30.0
"""A silence of this length counts as a hold: waiting, music, or a line that nobody
speaks on."""
_SQL = string.Template(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Interruption:
    """`by` cut in on `whom` (channels) at `start_s`, and both spoke for `overlap_s`."""

    start_s: float
    by: int
    whom: int
    overlap_s: float


def turns_sql(speech: str) -> str:
    """Return common table expressions that end in `turns`, to stand behind `WITH`.

    Args:
        speech: rows of the speech table, as SQL to select from.
    """
    return _SQL.substitute(speech=speech, cut_in_s=CUT_IN_S)

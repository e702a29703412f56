"""Who holds the floor, who cuts in, who only says "mhm", and when nobody speaks.

From the rows of `speech`, in the order of time:

1. The regions of one channel that lie less than `JOIN_S` apart are one *stretch*.
2. A stretch of at most `BACKCHANNEL_S` is a *backchannel* where another channel speaks all
   the while, or was the last to speak for longer than that and goes on, or resumes, within
   `RESUME_S` of its end. Backchannels take no floor.
3. The *floor* is held by the channel whose other stretches have reached furthest; a stretch
   that reaches further takes it. A *turn* begins with the first stretch, and with each that
   takes the floor from another channel.
4. One *talks over* another who has the floor where both speak for `CUT_IN_S` or more, and
   the other had spoken for `SPOKEN_S` or more: who starts nearly together with the other
   does not. It is an *interruption* where the other stops first, an *attempt* where the
   other goes on.
5. A *response latency* is the floor transfer offset of a turn: from the end of who had the
   floor to its beginning, negative where they overlap (Heldner & Edlund 2010, Pauses, gaps
   and overlaps in conversations, J. Phonetics 38; the measure: Levinson & Torreira 2015,
   Frontiers in Psychology 6:731). After a hold nobody responds.
6. *Non-talk time* is every silence between speech of more than `PAUSE_S`, and every hold, as
   Amazon Connect's Contact Lens counts it. A *hold* is a silence of `HOLD_S` or more,
   wherever in the recording.

`turns.sql` is this in SQL; both the measures of many calls and the timeline of one are
made from it.
"""

import string
from dataclasses import dataclass
from pathlib import Path

JOIN_S = 0.3
BACKCHANNEL_S = 1.0
RESUME_S = 1.0
CUT_IN_S = 0.5
SPOKEN_S = 0.5
SLOW_S = 3.0
"""A response after more than this is slow."""
PAUSE_S = 3.0
HOLD_S = 30.0
"""A silence of this length counts as a hold: waiting, music, or a line that nobody
speaks on."""
CONSTANTS = {
    "join_s": JOIN_S, "backchannel_s": BACKCHANNEL_S, "resume_s": RESUME_S,
    "cut_in_s": CUT_IN_S, "spoken_s": SPOKEN_S, "hold_s": HOLD_S,
}  # fmt: skip
_SQL = string.Template(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class TalkOver:
    """`by` spoke over `whom` (channels) from `start_s` on, both for `overlap_s`.

    An interruption if `whom` stopped first, an attempt if not.
    """

    start_s: float
    by: int
    whom: int
    overlap_s: float
    is_interruption: bool


def turns_sql(speech: str) -> str:
    """Return common table expressions that end in `turns`, to stand behind `WITH`.

    Args:
        speech: rows of the speech table, as SQL to select from.
    """
    return _SQL.substitute(CONSTANTS, speech=speech)

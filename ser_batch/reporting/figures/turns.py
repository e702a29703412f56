"""Turn-taking: turns, backchannels, interruptions, response latencies and silences.

The rows of `speech`, in order of time, are interpreted as follows.

1. Regions of one channel less than `JOIN_S` apart form one *stretch*.
2. A stretch of at most `BACKCHANNEL_S` is a *backchannel* if another channel speaks
   throughout it, or if another channel was the last to speak for longer than that and
   continues, or resumes, within `RESUME_S` of its end. Backchannels do not take the
   floor.
3. The *floor* is held by the channel whose other stretches have reached furthest; a
   stretch that reaches further takes it. A *turn* begins with the first stretch, and
   with each one that takes the floor from another channel.
4. A speaker *talks over* another who has the floor if both speak for `CUT_IN_S` or
   more, and the other had spoken for `SPOKEN_S` or more, so that starting at nearly the
   same time does not count. It is an *interruption* if the other stops first, and an
   *attempt* if the other continues.
5. A *response latency* is the floor transfer offset of a turn: from the end of the
   speaker who had the floor to the beginning of the turn, negative if they overlap
   (Heldner & Edlund 2010, Pauses, gaps and overlaps in conversations, J. Phonetics 38;
   the measure: Levinson & Torreira 2015, Frontiers in Psychology 6:731). A turn after a
   hold is not a response.
6. *Non-talk time* is every silence of more than `PAUSE_S` between speech, and every
   hold, as in Amazon Connect's Contact Lens. A *hold* is a silence of `HOLD_S` or more,
   anywhere in the recording.

`turns.sql` implements these rules, both for the measures of many calls and for the
timeline of a single one.
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
"""A response that takes longer than this is slow."""
PAUSE_S = 3.0
HOLD_S = 30.0
"""A silence of this length or more is a hold: waiting, music, or an idle line."""
CONSTANTS = {
    "join_s": JOIN_S, "backchannel_s": BACKCHANNEL_S, "resume_s": RESUME_S,
    "cut_in_s": CUT_IN_S, "spoken_s": SPOKEN_S, "hold_s": HOLD_S,
}  # fmt: skip
_SQL = string.Template(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class TalkOver:
    """Channel `by` talked over channel `over` from `start_s` on, for `overlap_s`.

    It is an interruption if `over` stopped first, and otherwise an attempt.
    """

    start_s: float
    by: int
    over: int
    overlap_s: float
    is_interruption: bool


def turns_sql(speech: str) -> str:
    """Return common table expressions, the last of which is `turns`, to follow `WITH`.

    Args:
        speech: rows of the speech table, as SQL to select from.
    """
    return _SQL.substitute(CONSTANTS, speech=speech)

"""The last minute of a call, second by second: who speaks, and how distressed."""

from ser_batch.live.events import Event, SegmentScored, SpeechHeard

SHOWN_S = 60
UNDECIDED_S = 15
"""A provisional score without a final one after this time was no speech after all."""

Second = float | bool
"""The distress of a second; True for speech without a score, False for silence."""
Unfinished = tuple[int, int, float]
"""The first and the last second of speech that goes on, and its distress so far."""


class LastMinute:
    """What is known of the last minute of each channel; older seconds are forgotten.

    Provisional scores are kept apart: crosstalk is removed only when speech is decided,
    and until then the other side's voice may be in them.
    """

    def __init__(self, channels: int) -> None:
        self._known: list[dict[int, Second]] = [{} for _ in range(channels)]
        self._unfinished: list[Unfinished | None] = [None] * channels

    def add(self, event: Event) -> None:
        """Take an event into account; the later score of a second replaces another."""
        match event:
            case SpeechHeard():
                score = None
            case SegmentScored():
                score = event.distress
            case _:
                return
        last = int(event.end_s - 1e-9)
        if isinstance(event, SegmentScored):
            self._unfinished[event.channel] = None
            if not event.is_final:
                if score is not None:
                    own = (int(event.start_s), last, score)
                    self._unfinished[event.channel] = own
                return
        known = self._known[event.channel]
        for second in range(max(int(event.start_s), last - SHOWN_S + 1), last + 1):
            known[second] = known.get(second, True) if score is None else score
        oldest = max(known) - SHOWN_S + 1
        for second in [own for own in known if own < oldest]:
            del known[second]

    def seconds(self, channel: int, now_s: float) -> list[Second]:
        """Return the seconds until `now_s`, oldest first; fewer in the first minute."""
        known, last = self._known[channel], int(now_s)
        first = max(0, last - SHOWN_S + 1)
        return [known.get(second, False) for second in range(first, last + 1)]

    def unfinished(self, channel: int, now_s: float) -> Unfinished | None:
        """Return speech that is not decided, in places of what `seconds` returns."""
        own = self._unfinished[channel]
        if own is None or own[1] < now_s - UNDECIDED_S:
            return None
        first = max(0, int(now_s) - SHOWN_S + 1)
        return max(0, own[0] - first), own[1] - first, own[2]

    def distress(self, now_s: float) -> float | None:
        """Return the mean over the scored seconds of all channels; None without any."""
        scored = [
            second
            for channel in range(len(self._known))
            for second in self.seconds(channel, now_s)
            if not isinstance(second, bool)
        ]
        return sum(scored) / len(scored) if scored else None

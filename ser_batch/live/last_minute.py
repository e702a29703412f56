"""The last minute of a call, second by second: who speaks, and how distressed."""

from ser_batch.live.events import Event, SegmentScored, SpeechHeard

SHOWN_S = 60

Second = float | bool
"""The distress of a second; True for speech without a score, False for silence."""


class LastMinute:
    """What is known of the last minute of each channel; older seconds are forgotten."""

    def __init__(self, channels: int) -> None:
        self._known: list[dict[int, Second]] = [{} for _ in range(channels)]

    def add(self, event: Event) -> None:
        """Take an event into account; the later score of a second replaces another."""
        match event:
            case SpeechHeard():
                score = None
            case SegmentScored():
                score = event.distress
            case _:
                return
        known = self._known[event.channel]
        last = int(event.end_s - 1e-9)
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

    def distress(self, now_s: float) -> float | None:
        """Return the mean over the scored seconds of all channels; None without any."""
        scored = [
            second
            for channel in range(len(self._known))
            for second in self.seconds(channel, now_s)
            if not isinstance(second, bool)
        ]
        return sum(scored) / len(scored) if scored else None

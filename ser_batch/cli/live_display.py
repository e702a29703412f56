"""A call that is going on, in the terminal: a line per segment, and its last minute."""

from contextlib import suppress
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from ser_batch.cli.terminal import Terminal
from ser_batch.live.events import CallEnded, Event, Gap, SegmentScored
from ser_batch.live.last_minute import SHOWN_S, LastMinute, Second
from ser_batch.text import clock, counted

BARS = "▁▂▃▄▅▆▇█"
SILENT, TALKS = "·", "─"
REFRESHED_PER_S = 8
BESIDE = 26
"""Characters beside the timeline: who it is, and the distress so far."""


class Timeline:
    """The last minute of each channel, one character per second."""

    def __init__(self, roles: list[str | None]) -> None:
        """`roles` are those of the channels, in order."""
        self.roles = roles
        self._last_minute = LastMinute(len(roles))
        self._scored_s = [0.0 for _ in roles]
        self._distress_s = [0.0 for _ in roles]

    def add(self, event: Event) -> None:
        """Take an event into account."""
        self._last_minute.add(event)
        match event:
            case SegmentScored(is_final=True, distress=float(distress)):
                length_s = event.end_s - event.start_s
                self._scored_s[event.channel] += length_s
                self._distress_s[event.channel] += length_s * distress

    def distress(self, channel: int) -> float | None:
        """Return the mean distress so far; None if nothing was scored."""
        scored_s = self._scored_s[channel]
        return self._distress_s[channel] / scored_s if scored_s else None

    def strip(self, channel: int, now_s: float, n: int = SHOWN_S) -> str:
        """Return the last `n` seconds before `now_s`, with provisional scores."""
        seconds = self._last_minute.seconds(channel, now_s)
        if unfinished := self._last_minute.unfinished(channel, now_s):
            first, last, distress = unfinished
            for place in range(first, min(last + 1, len(seconds))):
                if isinstance(seconds[place], bool):
                    seconds[place] = distress
        return "".join(_character(second) for second in seconds[-n:])


class LiveDisplay:
    """Lines on standard output, and on a terminal the timeline below them."""

    def __init__(self, roles: list[str | None]) -> None:
        """`roles` are those of the channels, in order."""
        self._console = Terminal(highlight=False)
        self._timeline, self._now_s = Timeline(roles), 0.0
        self._live = None
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._shown,
                refresh_per_second=REFRESHED_PER_S,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            with suppress(OSError):
                self._live.stop()

    def at(self, now_s: float) -> None:
        """Set how much of the call was heard."""
        self._now_s = now_s

    def show(self, event: Event) -> None:
        """Show an event: segments, gaps and the end as lines."""
        self._timeline.add(event)
        match event:
            case SegmentScored(is_final=True):
                self._console.print(_line(event, self._who(event.channel)))
            case Gap():
                span = f"{clock(event.start_s)} to {clock(event.end_s)}"
                self._console.print(f"gap {span}: {event.reason}", style="yellow")
            case CallEnded():
                self._console.print(self._summary(event))

    def _who(self, channel: int) -> str:
        return self._timeline.roles[channel] or f"channel {channel}"

    def _summary(self, ended: CallEnded) -> Text:
        said = [
            f"{clock(ended.duration_s)}, {counted(ended.segments, 'segment')} scored"
        ]
        for channel in range(len(self._timeline.roles)):
            distress = self._timeline.distress(channel)
            if distress is not None:
                said.append(f"distress of {self._who(channel)} {distress:.2f}")
        lines = [", ".join(said), *(f"note: {note}" for note in ended.notes)]
        return Text("\n".join(lines), style="bold")

    def _shown(self) -> Table:
        table = Table.grid(padding=(0, 1))
        n = max(1, min(SHOWN_S, self._console.width - BESIDE))
        for channel in range(len(self._timeline.roles)):
            distress = self._timeline.distress(channel)
            table.add_row(
                self._who(channel),
                Text(self._timeline.strip(channel, self._now_s, n), no_wrap=True),
                "" if distress is None else f"distress {distress:.2f}",
            )
        table.add_row("", clock(self._now_s), "")
        return table


def _line(event: SegmentScored, who: str) -> Text:
    when = f"{clock(event.start_s)}-{clock(event.end_s)}"
    ranked = sorted(event.probabilities.items(), key=lambda pair: -pair[1])[:3]
    what = ", ".join(f"{label} {p:.2f}" for label, p in ranked)
    if not ranked:
        what = ", ".join(f"{name} {value:.2f}" for name, value in event.values.items())
    text = Text(f"{when}  {who:<9}  {event.label or 'unsure':<9}  {what}")
    if event.distress is not None and event.distress >= 0.5:
        text.stylize("red")
    return text


def _character(second: Second) -> str:
    if isinstance(second, bool):
        return TALKS if second else SILENT
    return BARS[min(int(second * len(BARS)), len(BARS) - 1)]

"""Time series in a line of text: sparklines and strips."""

from collections.abc import Sequence

from rich.text import Text

from ser_batch.reporting.figures.timelines import Timeline

WIDTH = 100
"""Width of a terminal report, in columns."""
TERMINAL_COLOURS = {
    "neutral": "white", "calm": "cyan", "happy": "yellow", "sad": "blue",
    "angry": "red", "fearful": "magenta", "disgust": "green",
    "surprised": "bright_yellow",
}  # fmt: skip
BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """Return a bar for each value, scaled from minimum to maximum; a dot for None.

    >>> sparkline([0.1, 0.2, None, 0.4])
    '▁▃·█'
    """
    there = [value for value in values if value is not None]
    if not there:
        return ""
    low, span = min(there), max(there) - min(there)
    level = len(BARS) - 1
    return "".join(
        "·" if v is None else BARS[round((v - low) / span * level) if span else 0]
        for v in values
    )


def highest_distress(timeline: Timeline, parts: int) -> list[float | None]:
    """Return the highest distress in each of `parts` equal parts of a call.

    None where nothing was scored.
    """
    duration_s = timeline.call["duration_s"] or 0.0
    highest: list[float | None] = [None] * parts
    for s in timeline.segments:
        for part in range(parts):
            if (
                s.distress is not None
                and s.start_s < (part + 1) * duration_s / parts
                and part * duration_s / parts < s.end_s
            ):
                highest[part] = max(highest[part] or 0.0, s.distress)
    return highest


def strip(timeline: Timeline, parts: int = 24) -> Text:
    """Return the highest distress in each of `parts` equal parts of a call.

    Bars are higher and redder with more distress; a dot means that nothing was scored.
    """
    text = Text()
    for distress in highest_distress(timeline, parts):
        if distress is None:
            text.append("·", "dim")
        else:
            style = (
                "red" if distress >= 0.5 else "yellow" if distress >= 0.25 else "green"
            )
            text.append(BARS[min(int(distress * len(BARS)), len(BARS) - 1)], style)
    return text

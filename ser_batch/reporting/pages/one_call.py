"""Terminal report of a single call: who speaks when, how it sounds, and its moments."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser_batch.reporting.figures.notes import NOT_SCORED
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.reporting.figures.turns import TalkOver
from ser_batch.reporting.pages.strips import TERMINAL_COLOURS, WIDTH, strip
from ser_batch.text import clock, counted, printable


def call_page(
    timeline: Timeline, labels: Sequence[str], width: int = WIDTH
) -> RenderableType:
    """Render a call.

    It shows who speaks when on each channel, the strongest emotion over time, and the
    moments to listen to.
    """
    return Group(*_call_parts(timeline, labels, width))


def _call_parts(
    timeline: Timeline, labels: Sequence[str], width: int
) -> Iterator[RenderableType]:
    call = timeline.call
    yield Text(printable(call["path"]), "bold")
    if call["status"] != "done":
        yield Text(f"failed: {call['error']}", "red")
        return
    began = (
        f"{call['started_at']:%Y-%m-%d %H:%M} · "
        if call["time_from"] == "metadata"
        else ""
    )
    if not call["duration_s"]:
        yield Text("the recording is empty")
        return
    facts = (
        f"{began}{clock(call['duration_s'])} · "
        f"silence {(call['silence_s'] or 0) / call['duration_s']:.0%}"
    )
    if call["turns"] is not None:
        if call["overtalk_s"] is not None:
            facts += f" · overtalk {call['overtalk_s']:.1f} s"
        for name in ("turn", "backchannel", "interruption"):
            if call[f"{name}s"] is not None:
                facts += f" · {counted(call[f'{name}s'], name)}"
    yield Text(facts)
    if call["notes"]:
        yield Text(f"note: {call['notes']}", "yellow")
    yield Text()
    names = {channel: timeline.who(channel) for channel in timeline.speech}
    left = max([len(name) for name in names.values()] + [8]) + 1
    cells = width - left
    step = call["duration_s"] / cells
    grid = Table.grid(padding=(0, 1, 0, 0))
    for channel, regions in timeline.speech.items():
        spoken = [
            any(a < (i + 1) * step and i * step < b for a, b in regions)
            for i in range(cells)
        ]
        grid.add_row(
            names[channel],
            Text(
                "".join("█" if s else "·" for s in spoken),
                "cyan" if channel % 2 else "blue",
            ),
        )
        own = [s for s in timeline.segments if s.channel == channel]
        if any(s.distress is not None for s in own):
            grid.add_row(
                "distress", strip(Timeline(call, {}, {}, own, [], [], []), cells)
            )
        if own and labels:
            grid.add_row("emotion", _letters(own, letters_of(labels), step, cells))
    ruler = ""
    while len(ruler) < cells - 8:
        ruler = ruler.ljust(len(ruler) // 15 * 15 + 15) if ruler else ""
        ruler += clock(len(ruler) * step)
    grid.add_row("", Text(ruler[:cells], "dim"))
    yield grid
    used = sorted(
        {s.label for s in timeline.segments if s.label}, key=list(labels).index
    )
    letters = letters_of(labels)
    if used:
        yield Text.assemble(
            *[
                part
                for label in used
                for part in (
                    (f"{letters[label]} ", TERMINAL_COLOURS.get(label, "")),
                    f"{label}  ",
                )
            ]
        )
    yield Text()
    if call["not_scored"]:
        yield Text(f"no label: {NOT_SCORED[call['not_scored']]}", "yellow")
    moments = timeline.moments(10)
    if call["concern"] is not None and not moments:
        yield Text("nothing stands out")
    for moment in moments:
        yield Text(
            f"{clock(moment.start_s)}  {timeline.who(moment.channel)}: {moment.reason}"
        )
    for over in timeline.talk_overs:
        yield Text(
            f"{clock(over.start_s)}  {talk_over_text(timeline, over)}", style="dim"
        )


def talk_over_text(timeline: Timeline, over: TalkOver) -> str:
    """Return `agent interrupts customer (1.2 s)`, or that the customer continues."""
    by, other = timeline.who(over.by), timeline.who(over.over)
    if over.is_interruption:
        return f"{by} interrupts {other} ({over.overlap_s:.1f} s)"
    return f"{by} talks over {other}, who continues ({over.overlap_s:.1f} s)"


def letters_of(labels: Sequence[str]) -> dict[str, str]:
    """Return a letter for each label: its first that no earlier label uses.

    >>> letters_of(["sad", "surprised", "sass"])
    {'sad': 'S', 'surprised': 'U', 'sass': 'A'}
    """
    letters: dict[str, str] = {}
    for label in labels:
        free = [c for c in label.upper() if c.isalnum() and c not in letters.values()]
        letters[label] = free[0] if free else "#"
    return letters


def _letters(
    segments: Sequence[Any], letters: dict[str, str], step: float, cells: int
) -> Text:
    text = Text()
    for i in range(cells):
        here = [
            s for s in segments if s.start_s < (i + 1) * step and i * step < s.end_s
        ]
        strongest = max(here, key=lambda s: max(s.probabilities), default=None)
        if strongest is None:
            text.append("·", "dim")
        else:
            text.append(
                letters[strongest.label] if strongest.label else "?",
                TERMINAL_COLOURS.get(strongest.label or "", "dim"),
            )
    return text

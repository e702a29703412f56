"""A summary as a page of the terminal. Names of files are data: they are never read as markup."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser_batch.report.summary import DISTRESS, Moment, RankedRecording, Summary

COLOURS = {
    "neutral": "white", "calm": "cyan", "happy": "yellow", "sad": "blue",
    "angry": "red", "fearful": "magenta", "disgust": "green", "surprised": "bright_yellow",
}  # fmt: skip
MAX_FAILURES = 20
BARS = "▁▂▃▄▅▆▇█"


def clock(seconds: float) -> str:
    """`mm:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def counted(n: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def page(summary: Summary) -> RenderableType:
    """The whole report."""
    return Group(*_parts(summary))


def _parts(summary: Summary) -> Iterator[RenderableType]:
    line = (
        f"{counted(summary.recordings, 'recording')}: {summary.done} done, {summary.failed} failed · "
        f"{summary.audio_h:.2f} h of audio, {summary.talk_h:.2f} h of speech · {counted(summary.segments, 'segment')}"
    )
    yield Text(line, style="bold")
    if summary.emotions:
        yield Text()
        yield _emotions(summary)
    if summary.ranked:
        yield Text()
        yield _calls(summary.ranked)
        names = " + ".join(label for label in summary.emotions if label in DISTRESS)
        yield Text(
            f"distress: the probability of {names}; bars from low ▁ to high █, · where nothing was scored", "dim"
        )
    if summary.failures:
        yield Text()
        yield _failures(summary)


def _emotions(summary: Summary) -> Table:
    table = Table(title="Emotions, by probability and speech time", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for label, share in sorted(summary.emotions.items(), key=lambda item: -item[1]):
        table.add_row(label, f"{share:.1%}", Text("█" * round(share * 60), style=COLOURS.get(label, "white")))
    table.caption = f"For {summary.abstained:.0%} of the time the model was too unsure to name a label."
    table.caption_justify = "left"
    return table


def _calls(calls: list[RankedRecording]) -> Table:
    table = Table(title="Most worth listening to", title_justify="left", header_style="bold")
    table.add_column("recording, distress over its time", overflow="fold", ratio=1)
    table.add_column("length", justify="right")
    table.add_column("from", justify="right")
    table.add_column("who")
    table.add_column("distress", justify="right")
    table.add_column("sounds")
    for call in calls:
        # The strip stands below the name, also for a call of one moment.
        for i, moment in enumerate([*call.moments, None] if len(call.moments) == 1 else call.moments):
            table.add_row(
                Text(call.path) if i == 0 else _strip(call.timeline) if i == 1 else "",
                clock(call.duration_s) if i == 0 else "",
                *_columns(moment),
                end_section=i == max(1, len(call.moments) - 1),
            )
    return table


def _columns(moment: Moment | None) -> list[Text]:
    if moment is None:
        return []
    who = moment.role or f"channel {moment.channel}"
    label = Text(moment.label or "unsure", style=COLOURS.get(moment.label or "", "dim"))
    return [Text(clock(moment.start_s)), Text(who), Text(f"{moment.distress:.2f}"), label]


def _strip(timeline: list[float | None]) -> Text:
    """A bar for each part of a call, higher and redder with distress; a dot where nothing was scored."""
    strip = Text()
    for distress in timeline:
        if distress is None:
            strip.append("·", "dim")
        else:
            style = "red" if distress >= 0.5 else "yellow" if distress >= 0.25 else "green"
            strip.append(BARS[min(int(distress * len(BARS)), len(BARS) - 1)], style)
    return strip


def _failures(summary: Summary) -> Table:
    table = Table(title="Failed", title_justify="left", header_style="bold")
    table.add_column("recording", overflow="fold", ratio=1)
    table.add_column("why", overflow="fold", ratio=2)
    for failure in summary.failures[:MAX_FAILURES]:
        table.add_row(Text(failure["path"]), Text(failure["error"]))
    if len(summary.failures) > MAX_FAILURES:
        table.caption = f"and {len(summary.failures) - MAX_FAILURES} more: see --format json"
    return table

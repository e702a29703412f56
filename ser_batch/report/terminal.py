"""A report as a page of the terminal, 100 columns wide. Names of files and metadata are data: never read as markup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser_batch.recordings import shown
from ser_batch.report.measures import DISTRESS
from ser_batch.report.overview import Report
from ser_batch.report.portfolio import Figure, Figures, Measure, share_names
from ser_batch.report.timelines import Timeline

WIDTH = 100
COLOURS = {
    "neutral": "white", "calm": "cyan", "happy": "yellow", "sad": "blue",
    "angry": "red", "fearful": "magenta", "disgust": "green", "surprised": "bright_yellow",
}  # fmt: skip
MAX_FAILURES = 20
MAX_GROUPS = 30
BARS = "▁▂▃▄▅▆▇█"
COMPARED = (
    "distress_share", "angry_share", "sad_share", "happy_share", "valence", "abstained_share", "episode_share",
    "escalated_share", "recovered_share", "silence_share", "overtalk_share", "agent_talk_share", "response_latency_s",
    "interruptions_per_hour", "mean_duration_s", "failed_share",
)  # fmt: skip
"""What a page has room for of the measures; JSON and CSV have all."""
GROUPED = ("distress_share", "angry_share", "valence", "episode_share", "silence_share", "overtalk_share")
WITH_AGENTS = ("agent_talk_share", "agent_interruptions_per_hour", "customer_interruptions_per_hour", "agent_latency_s")


def clock(seconds: float) -> str:
    """`mm:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def counted(n: float, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{n:,.0f} {noun}" if n == 1 else f"{n:,.0f} {noun}s"


def number(value: float | None, measure: Measure, signed: bool = False) -> str:
    """A figure as its measure is written: `12.3 %`, `4.1 s`, `-0.08`; a dash where there is none."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    match measure.kind:
        case "share":
            return f"{value * 100:{sign}.1f} %"
        case "seconds":
            return f"{value:{sign}.1f} s"
        case "score":
            return f"{value:{sign}.2f}"
        case "count":
            return f"{value:{sign},.0f}" if measure.unit != "h" else f"{value:{sign},.2f} h"
    return f"{value:{sign}.1f}"


def interval(figure: Figure, measure: Measure, signed: bool = False) -> str:
    """`11.0–13.4`, in the unit of the figure; empty where too few recordings stand behind it."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = (
        number(value, measure, signed).removesuffix(" %").removesuffix(" s") for value in (figure.low, figure.high)
    )
    return f"{low} to {high}"


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value between the least and the greatest; a dot where there is none.

    >>> sparkline([0.1, 0.2, None, 0.4])
    '▁▃·█'
    """
    there = [value for value in values if value is not None]
    if not there:
        return ""
    low, span = min(there), max(there) - min(there)
    level = len(BARS) - 1
    return "".join("·" if v is None else BARS[round((v - low) / span * level) if span else 0] for v in values)


def page(report: Report) -> RenderableType:
    """The whole report."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield from _portfolio(report)
    for note in report.notes:
        yield Text(f"note: {shown(note)}", "yellow")
    for part in (
        _comparison(report),
        _emotions(report),
        _trend(report),
        _timing(report),
        _groups(report),
        _calls(report),
    ):
        if part is not None:
            yield Text()
            yield part
    if report.failures:
        yield Text()
        yield _failures(report)


def _portfolio(report: Report) -> Iterator[Text]:
    total = report.total
    line = (
        f"{counted(total.recordings, 'recording')}: {total['done'].value or 0:,.0f} done, "
        f"{total['failed'].value or 0:,.0f} failed · {total['audio_h'].value or 0:,.2f} h of audio, "
        f"{total['talk_h'].value or 0:,.2f} h of speech, {total['scored_h'].value or 0:,.2f} h scored"
    )
    yield Text(line, style="bold")
    if report.first and report.last:
        whose = {"everyone": "everyone's emotions", "agent": "the agents' emotions"}.get(
            report.role, "the customers' emotions"
        )
        same = report.first.date() == report.last.date()
        period = f"{report.first:%Y-%m-%d}" if same else f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}"
        yield Text(f"{period} · {whose} · model {report.model_id}", "dim")


def _comparison(report: Report) -> Table | None:
    comparison = report.comparison
    if comparison is None or not comparison.change:
        return None
    table = _table(f"What changed, against {comparison.against} ({counted(comparison.recordings, 'recording')})")
    table.add_column("measure")
    for name in ("now", "then", "change"):
        table.add_column(name, justify="right")
    table.add_column("95 %")
    for row in changes(report):
        table.add_row(row.name, row.now, row.then, Text(row.change, "bold" if row.is_clear else "dim"), row.interval)
    table.caption, table.caption_justify = "bold: the interval of the change does not hold 0", "left"
    return table


@dataclass(frozen=True, slots=True)
class Change:
    """How a measure differs from then, as it is written."""

    name: str
    meaning: str
    now: str
    then: str
    change: str
    interval: str
    is_clear: bool
    """Whether the interval of the difference leaves 0 out."""


def changes(report: Report) -> list[Change]:
    """What has changed of the measures in `COMPARED`; nothing where nothing is compared."""
    rows = []
    for name in COMPARED if report.comparison else ():
        change = report.comparison.change.get(name)  # type: ignore[union-attr]
        if change is not None:
            m, then = report.measures[name], report.comparison.then[name]  # type: ignore[union-attr]
            clear = change.low is not None and change.high is not None and (change.low > 0 or change.high < 0)
            now, written = number(report.total[name].value, m), number(change.value, m, signed=True)
            between = interval(change, m, signed=True)
            rows.append(Change(label_of(m), m.meaning, now, number(then.value, m), written, between, clear))
    return rows


def label_of(measure: Measure) -> str:
    """`angry_share` as `angry share`: the name of a measure as it is read."""
    return measure.name.removesuffix("_s").replace("_", " ")


def _shown(names: Sequence[str], report: Report) -> list[str]:
    return [name for name in names if name in report.measures and report.total[name].value is not None]


def _emotions(report: Report) -> Table | None:
    shares = report.shares()
    if not shares:
        return None
    table = Table(title="Emotions, by probability and speech time", title_justify="left", box=None, padding=(0, 1))
    table.add_column()
    for name in ("share", "95 %", "1st", "2nd", "3rd", "4th quarter"):
        table.add_column(name, justify="right")
    table.add_column()
    names = share_names(report.labels)
    for label, share in sorted(shares.items(), key=lambda item: -item[1]):
        figure, measure = report.total[names[label]], report.measures[names[label]]
        quarters = [q.shares[label] if q else None for q in report.quarters]
        cells = ["–" if value is None else f"{value * 100:.0f} %" for value in quarters]
        bar = Text("█" * round(share * 24) or "▏", style=COLOURS.get(label, "white"))
        table.add_row(Text(label), number(share, measure), interval(figure, measure), *cells, bar)
    valence, arousal, unsure = (report.total[name] for name in ("valence", "arousal", "abstained_share"))
    said = [] if valence.value is None else [f"valence {valence.value:+.2f}, arousal {arousal.value:+.2f} (-1 to 1)"]
    table.caption = "; ".join([*said, f"no label for {unsure.value or 0:.0%} of the time"])
    table.caption_justify = "left"
    return table


def _trend(report: Report) -> Table | None:
    if len(report.days) < 2:
        return None
    keys = list(report.days)[-60:]
    table = Table(title=f"Trend, {keys[0]} to {keys[-1]}", title_justify="left", box=None, show_header=False)
    for name in _shown(("recordings", "distress_share", "valence", "silence_share"), report):
        values = [report.days[key][name].value for key in keys]
        there = [v for v in values if v is not None]
        if there:
            measure = report.measures[name]
            span = f"{number(min(there), measure)} to {number(max(there), measure)}"
            table.add_row(label_of(measure), Text(sparkline(values), "cyan"), Text(span, "dim"))
    return table


def _timing(report: Report) -> Table | None:
    names = _shown(
        ("silence_share", "hold_share", "overtalk_share", "response_latency_s", "interruptions_per_hour",
         "turns_per_minute", "one_sided_share", *WITH_AGENTS), report
    )  # fmt: skip
    if not names:
        return None
    table = Table(title="Conversation", title_justify="left", box=None, padding=(0, 2, 0, 1))
    table.add_column()
    table.add_column("all", justify="right")
    table.add_column("half of the calls", justify="right")
    table.add_column("nine in ten", justify="right")
    for name in names:
        measure = report.measures[name]
        spread = report.distributions.get(name)
        ranges = (
            [f"{number(spread[a], measure)} to {number(spread[b], measure)}" for a, b in ((1, 3), (0, 4))]
            if spread
            else []
        )
        table.add_row(label_of(measure), Text(number(report.total[name].value, measure), "bold"), *ranges)
    return table


def _groups(report: Report) -> Table | None:
    if not report.groups:
        return None
    names = _shown(GROUPED, report)
    table = _table(f"By {report.by}")
    table.add_column(Text(str(report.by)), overflow="fold")
    table.add_column("calls", justify="right")
    for name in names:
        table.add_column(label_of(report.measures[name]).removesuffix(" share"), justify="right")
    ordered = sorted(report.groups.items(), key=lambda item: -(item[1]["distress_share"].value or -1))
    for key, group in ordered[:MAX_GROUPS]:
        table.add_row(
            Text(shown(group_name(key))),
            f"{group.recordings:,}",
            *(_with_spread(group, name, report) for name in names),
        )
    caption = f"± half of the 95 % interval; none below {counted(5, 'call')}"
    table.caption = caption + (
        f"; {len(ordered) - MAX_GROUPS} more groups: --format json" if len(ordered) > MAX_GROUPS else ""
    )
    table.caption_justify = "left"
    return table


def group_name(key: Any) -> str:
    """The value of a group as text."""
    return "(unknown)" if key is None else str(key)


def _with_spread(group: Figures, name: str, report: Report) -> str:
    figure, measure = group[name], report.measures[name]
    text = number(figure.value, measure)
    if figure.low is None or figure.high is None:
        return text
    return f"{text.removesuffix(' %')} ±{number((figure.high - figure.low) / 2, measure)}"


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", header_style="bold", show_edge=False, pad_edge=False)


def _calls(report: Report) -> RenderableType | None:
    if not report.top:
        return None
    table = _table("Most worth listening to")
    table.add_column("recording, distress over its time", overflow="fold", ratio=3)
    table.add_column("length", justify="right")
    table.add_column("from", justify="right")
    table.add_column("who")
    table.add_column("why", ratio=3)
    for timeline in report.top:
        moments = timeline.moments()
        # The strip stands below the name, also for a call of one moment.
        for i in range(max(2, len(moments))):
            moment = moments[i] if i < len(moments) else None
            name = [Text(shown(timeline.call["path"])), strip(timeline)]
            cells: list[RenderableType] = [
                name[i] if i < 2 else "",
                clock(timeline.call["duration_s"]) if i == 0 else "",
            ]
            if moment:
                cells += [clock(moment.start_s), Text(timeline.who(moment.channel)), Text(moment.reason)]
            table.add_row(*cells, end_section=i == max(1, len(moments) - 1))
    names = " + ".join(label for label in report.labels if label in DISTRESS) or "nothing that this model tells"
    legend = f"distress: the probability of {names}; bars from low ▁ to high █, · where nothing was scored"
    return Group(table, Text(legend, "dim"))


def strip(timeline: Timeline, parts: int = 24) -> Text:
    """The highest distress in each of so many equal parts of a call: higher and redder with distress, a dot where
    nothing was scored."""
    duration_s = timeline.call["duration_s"]
    highest: list[float | None] = [None] * parts
    for s in timeline.segments:
        for part in range(parts):
            if (
                s.distress is not None
                and s.start_s < (part + 1) * duration_s / parts
                and part * duration_s / parts < s.end_s
            ):
                highest[part] = max(highest[part] or 0.0, s.distress)
    text = Text()
    for distress in highest:
        if distress is None:
            text.append("·", "dim")
        else:
            style = "red" if distress >= 0.5 else "yellow" if distress >= 0.25 else "green"
            text.append(BARS[min(int(distress * len(BARS)), len(BARS) - 1)], style)
    return text


def _failures(report: Report) -> Table:
    table = _table("Failed")
    table.add_column("recording", overflow="fold", ratio=1)
    table.add_column("why", overflow="fold", ratio=2)
    for failure in report.failures[:MAX_FAILURES]:
        table.add_row(Text(shown(failure["path"])), Text(shown(failure["error"] or "")))
    if (report.total["failed"].value or 0) > MAX_FAILURES:
        table.caption = f"and {report.total['failed'].value - MAX_FAILURES:,.0f} more: see --format json"  # type: ignore[operator]
    return table

"""Terminal reports, 100 columns wide.

Names of files and metadata are data, and are never interpreted as markup.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser_batch.emotion.answers import DISTRESS
from ser_batch.reporting.figures.estimates import MIN_UNITS
from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.measures import share_names
from ser_batch.reporting.figures.overview import GROUPED, Report
from ser_batch.reporting.pages.strips import TERMINAL_COLOURS, sparkline, strip
from ser_batch.reporting.pages.wording import (
    CLEAR,
    MAX_GROUPS,
    NOTHING_STANDS_OUT,
    changes,
    group_name,
    heading,
    interval,
    label_of,
    legend_of_groups,
    number,
)
from ser_batch.text import clock, counted, printable

MAX_FAILURES = 20
WITH_AGENTS = (
    "agent_talk_share",
    "agent_latency_s",
    "agent_slow_response_share",
    "agent_interruptions_per_minute",
    "customer_interruptions_per_minute",
)


def page(report: Report) -> RenderableType:
    """Render the whole report."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield from _portfolio(report)
    for note in report.notes:
        yield Text(f"note: {printable(note)}", "yellow")
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
        f"{counted(total.recordings, 'recording')}: "
        f"{total['done'].value or 0:,.0f} done, "
        f"{total['failed'].value or 0:,.0f} failed · "
        f"{total['audio_h'].value or 0:,.2f} h of audio, "
        f"{total['talk_h'].value or 0:,.2f} h of speech, "
        f"{total['scored_h'].value or 0:,.2f} h scored"
    )
    yield Text(line, style="bold")
    yield Text(heading(report), "dim")


def _comparison(report: Report) -> Table | None:
    comparison = report.comparison
    rows = changes(report)
    if comparison is None or not rows:
        return None
    table = _table(
        f"What changed, compared with {comparison.against} "
        f"({counted(comparison.recordings, 'recording')})"
    )
    table.add_column("measure")
    for name in ("now", "then", "change"):
        table.add_column(name, justify="right")
    table.add_column("95 %")
    for row in rows:
        table.add_row(
            row.name,
            row.now,
            row.then,
            Text(row.change, "bold" if row.is_clear else "dim"),
            row.interval,
        )
    table.caption, table.caption_justify = (
        CLEAR,
        "left",
    )
    return table


def _measured(names: Sequence[str], report: Report) -> list[str]:
    return [
        name
        for name in names
        if name in report.measures and report.total[name].value is not None
    ]


def _emotions(report: Report) -> RenderableType | None:
    shares = report.shares()
    said = _dimensions(report)
    if not shares:
        return Text(f"Emotions, by speech time: {said}") if said else None
    table = Table(box=None, padding=(0, 1))
    table.add_column()
    with_quarters = any(report.quarters)
    quarters = ("1st", "2nd", "3rd", "4th quarter") if with_quarters else ()
    for name in ("share", "95 %", *quarters):
        table.add_column(name, justify="right")
    table.add_column()
    names = share_names(report.labels)
    for label, share in sorted(shares.items(), key=lambda item: -item[1]):
        figure, measure = report.total[names[label]], report.measures[names[label]]
        cells = [
            f"{q.shares[label] * 100:.0f} %" if q else "–"
            for q in (report.quarters if with_quarters else ())
        ]
        bar = Text(
            "█" * round(share * 24) or "▏", style=TERMINAL_COLOURS.get(label, "white")
        )
        table.add_row(
            Text(label), number(share, measure), interval(figure, measure), *cells, bar
        )
    unsure = (
        f"no label for {report.total['abstained_share'].value or 0:.0%} of the time"
    )
    title = Text("Emotions, by probability and speech time", "italic")
    text = "; ".join(part for part in (said, unsure) if part)
    return Group(title, table, Text(text, "dim"))


def _dimensions(report: Report) -> str:
    known = [
        f"{name} {value:+.2f}"
        for name in ("valence", "arousal")
        if (value := report.total[name].value) is not None
    ]
    return f"{', '.join(known)} (-1 to 1)" if known else ""


def _trend(report: Report) -> Table | None:
    if len(report.days) < 2:
        return None
    keys = list(report.days)[-60:]
    table = Table(
        title=f"Trend, {keys[0]} to {keys[-1]}",
        title_justify="left",
        box=None,
        show_header=False,
    )
    for name in _measured(
        ("recordings", "distress_share", "valence", "silence_share"), report
    ):
        values = [report.days[key][name].value for key in keys]
        there = [v for v in values if v is not None]
        if there:
            measure = report.measures[name]
            span = f"{number(min(there), measure)} to {number(max(there), measure)}"
            table.add_row(
                label_of(measure), Text(sparkline(values), "cyan"), Text(span, "dim")
            )
    return table


def _timing(report: Report) -> Table | None:
    names = _measured(
        (
            "silence_share",
            "non_talk_share",
            "hold_share",
            "overtalk_share",
            "turns_per_minute",
            "response_latency_s",
            "interruptions_per_minute",
            "attempts_per_minute",
            "backchannels_per_minute",
            "one_sided_share",
            *WITH_AGENTS,
        ),
        report,
    )
    if not names:
        return None
    table = Table(
        title="Conversation", title_justify="left", box=None, padding=(0, 2, 0, 1)
    )
    table.add_column()
    table.add_column("all", justify="right")
    spreads = {
        name: spread
        for name, spread in report.distributions.items()
        if name in names and report.total[name].recordings >= MIN_UNITS
    }
    for column in ("middle 50 % of calls", "middle 90 %") if spreads else ():
        table.add_column(column, justify="right")
    for name in names:
        measure, spread = report.measures[name], spreads.get(name)
        ranges = []
        if spread:
            low, lower, _, upper, high = (number(value, measure) for value in spread)
            ranges = [f"{lower} to {upper}", f"{low} to {high}"]
        total = Text(number(report.total[name].value, measure), "bold")
        table.add_row(label_of(measure), total, *ranges)
    return table


def _groups(report: Report) -> Table | None:
    if not report.groups:
        return None
    names = _measured(GROUPED, report)
    table = _table(f"By {report.by}")
    table.add_column(Text(str(report.by)), overflow="fold")
    table.add_column("calls", justify="right")
    for name in names:
        table.add_column(
            label_of(report.measures[name]).removesuffix(" share"), justify="right"
        )
    ordered = sorted(
        report.groups.items(), key=lambda item: -(item[1]["distress_share"].value or -1)
    )
    for key, group in ordered[:MAX_GROUPS]:
        table.add_row(
            Text(printable(group_name(key))),
            f"{group.recordings:,}",
            *(_with_interval(key, group, name, report) for name in names),
        )
    caption = legend_of_groups(report)
    if len(ordered) > MAX_GROUPS:
        caption += f"; {len(ordered) - MAX_GROUPS} more groups: --format json"
    table.caption = caption
    table.caption_justify = "left"
    return table


def _with_interval(key: Any, group: Figures, name: str, report: Report) -> Text:
    """Return a figure with its interval below it."""
    figure, measure = group[name], report.measures[name]
    style = "bold" if (key, name) in report.standing_out else ""
    text = Text(number(figure.value, measure), style)
    if figure.low is not None:
        text.append(f"\n{interval(figure, measure)}", "not bold dim")
    return text


def _table(title: str) -> Table:
    return Table(
        title=Text(title),
        title_justify="left",
        header_style="bold",
        show_edge=False,
        pad_edge=False,
    )


def _calls(report: Report) -> RenderableType | None:
    if not report.top:
        tells = report.total["distress_share"].value is not None
        return Text(NOTHING_STANDS_OUT) if tells else None
    table = _table("Most worth listening to")
    table.add_column("recording, distress over time", overflow="fold", ratio=3)
    table.add_column("length", justify="right")
    table.add_column("from", justify="right")
    table.add_column("who")
    table.add_column("why", ratio=3)
    for timeline in report.top:
        moments = timeline.moments()
        # The strip is below the name, even for a call with a single moment.
        for i in range(max(2, len(moments))):
            moment = moments[i] if i < len(moments) else None
            name = [Text(printable(timeline.call["path"])), strip(timeline)]
            cells: list[RenderableType] = [
                name[i] if i < 2 else "",
                clock(timeline.call["duration_s"]) if i == 0 else "",
            ]
            if moment:
                cells += [
                    clock(moment.start_s),
                    Text(timeline.who(moment.channel)),
                    Text(moment.reason),
                ]
            table.add_row(*cells, end_section=i == max(1, len(moments) - 1))
    names = (
        " + ".join(label for label in report.labels if label in DISTRESS)
        or "labels that this model does not have"
    )
    legend = (
        f"distress: the probability of {names}; bars from low ▁ to high █, "
        "· where nothing was scored"
    )
    return Group(table, Text(legend, "dim"))


def _failures(report: Report) -> Table:
    table = _table("Failed")
    table.add_column("recording", overflow="fold", ratio=1)
    table.add_column("why", overflow="fold", ratio=2)
    for failure in report.failures[:MAX_FAILURES]:
        table.add_row(
            Text(printable(failure["path"])), Text(printable(failure["error"] or ""))
        )
    if (report.total["failed"].value or 0) > MAX_FAILURES:
        table.caption = (
            f"and {(report.total['failed'].value or 0) - MAX_FAILURES:,.0f} more: "
            "see --format json"
        )
    return table

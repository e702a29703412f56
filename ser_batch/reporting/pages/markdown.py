"""Markdown reports, for a ticket or a chat.

Names of files and metadata are data, and are escaped.
"""

import re
from collections.abc import Sequence
from typing import Any

from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.measures import share_names
from ser_batch.reporting.figures.overview import GROUPED, Report
from ser_batch.reporting.pages.wording import (
    CLEAR,
    NOTHING_STANDS_OUT,
    changes,
    group_name,
    heading,
    interval,
    label_of,
    legend_of_groups,
    number,
)
from ser_batch.text import clock, counted

MAX_ROWS = 20


def to_markdown(report: Report) -> str:
    """Return the report as Markdown.

    It contains totals, changes, emotions, groups, calls to listen to, and failures.
    """
    return "\n".join(_lines(report)) + "\n"


def escaped(text: Any) -> str:
    """Escape a text for Markdown, on one line."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&-])", r"\\\1", line)


def _lines(report: Report) -> list[str]:
    total = report.total
    done, failed = total["done"].value or 0, total["failed"].value or 0
    lines = [
        "# Calls",
        "",
        f"{counted(total.recordings, 'recording')}: {done:,.0f} done, "
        f"{failed:,.0f} failed; {total['audio_h'].value or 0:,.2f} h of audio, "
        f"{total['scored_h'].value or 0:,.2f} h scored",
        "",
        escaped(heading(report)),
    ]
    lines += (
        ["", *(f"> {escaped(note)}" for note in report.notes)] if report.notes else []
    )
    changed = changes(report)
    if report.comparison and changed:
        rows = [
            [
                row.name,
                row.now,
                row.then,
                f"**{row.change}**" if row.is_clear else row.change,
                row.interval,
            ]
            for row in changed
        ]
        lines += [
            "",
            f"## What changed, compared with {escaped(report.comparison.against)}",
            "",
            *_table(["measure", "now", "then", "change", "95 %"], rows),
            "",
            CLEAR,
        ]
    shares, share_of = report.shares(), share_names(report.labels)
    if shares:
        rows = [
            [
                escaped(label),
                number(share, m := report.measures[share_of[label]]),
                interval(total[m.name], m),
                *(
                    "–" if q is None else f"{q.shares[label]:.0%}"
                    for q in report.quarters
                ),
            ]
            for label, share in sorted(shares.items(), key=lambda item: -item[1])
        ]
        lines += [
            "",
            "## Emotions",
            "",
            *_table(
                ["emotion", "share", "95 %", "1st quarter", "2nd", "3rd", "4th"], rows
            ),
        ]
    if report.groups:
        names = [name for name in GROUPED if total[name].value is not None]
        rows = [
            [
                escaped(group_name(key)),
                f"{group.recordings:,}",
                *(_group_cell(report, key, group, name) for name in names),
            ]
            for key, group in sorted(
                report.groups.items(),
                key=lambda item: -(item[1]["distress_share"].value or -1),
            )
        ]
        lines += [
            "",
            f"## By {escaped(report.by)}",
            "",
            *_table(
                [
                    escaped(report.by),
                    "calls",
                    *(label_of(report.measures[n]) for n in names),
                ],
                rows[:MAX_ROWS],
            ),
            "",
            f"{legend_of_groups(report)}.",
        ]
    if report.top:
        rows = [
            [
                escaped(t.call["path"]),
                clock(m.start_s),
                escaped(t.who(m.channel)),
                escaped(m.reason),
            ]
            for t in report.top
            for m in t.moments(1)
        ]
        lines += [
            "",
            "## Most worth listening to",
            "",
            *_table(["recording", "from", "who", "why"], rows),
        ]
    elif total["distress_share"].value is not None:
        lines += ["", NOTHING_STANDS_OUT]
    if report.failures:
        rows = [
            [escaped(f["path"]), escaped(f["error"] or "")]
            for f in report.failures[:MAX_ROWS]
        ]
        lines += [
            "",
            f"## Failed ({failed:,.0f})",
            "",
            *_table(["recording", "why"], rows),
        ]
    return lines


def _group_cell(report: Report, key: Any, group: Figures, name: str) -> str:
    """Return a group's figure, in bold if it stands out, and its interval."""
    figure, measure = group[name], report.measures[name]
    text = number(figure.value, measure)
    if (key, name) in report.standing_out:
        text = f"**{text}**"
    between = interval(figure, measure)
    return f"{text} ({between})" if between else text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)
    ]

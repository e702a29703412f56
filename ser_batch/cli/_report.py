"""`ser report`: summarise results."""

import sys
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_batch.cli._options import (
    MetadataFile,
    NamePattern,
    ResultsDirectory,
    Sidecars,
    Timezone,
    Undated,
    UndatedCalls,
)
from ser_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ser_batch.reporting.figures.overview import Opened

_WHICH, _HOW = "Selection and grouping", "Output"


class Format(StrEnum):
    """Formats of the report on standard output."""

    table = "table"
    markdown = "markdown"
    json = "json"
    csv = "csv"


class Copied(StrEnum):
    """What is copied of recordings."""

    clips = "clips"
    calls = "calls"


def command(
    directory: ResultsDirectory,
    since: Annotated[
        str | None,
        typer.Option(
            help="Start of the period: 2026-01-31, 2026-01-31T14:00, today, "
            "yesterday, 7d (whole days, including today), 36h.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="End of the period; a day includes all its hours.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(
            help="Instead of --since and --until: today, yesterday, week, last-week, "
            "month, last-month, 10d, 2w, or FROM..TO.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    timezone: Timezone = None,
    undated: UndatedCalls = Undated.exclude,
    role: Annotated[
        str,
        typer.Option(
            help="Role to report on, if agents were scored too: customer or agent.",
            rich_help_panel=_WHICH,
        ),
    ] = "customer",
    by: Annotated[
        str | None,
        typer.Option(
            help="Group by a metadata column, or by folder, day, week, weekday, "
            "hour, channels or one_sided.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="For the 95 % intervals, treat calls with the same value of this "
            "metadata column as one unit; `none`: each call separately. Default: the "
            "agent, if the metadata includes it.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Compare with another results directory, a period FROM..TO, or "
            "`previous`.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS",
            help="Folder made by ser label start: correct shares by what was heard in "
            "a sample of these calls. Kept for later reports.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    metadata: MetadataFile = None,
    name_pattern: NamePattern = None,
    sidecars: Sidecars = False,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="CALL",
            help="Show the timeline of one call, by path or id.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="A table, Markdown, everything as JSON, or one row per call as CSV.",
            rich_help_panel=_HOW,
        ),
    ] = Format.table,
    html: Annotated[
        str | None,
        typer.Option(
            help="Write an interactive HTML report: a file, or DIR/ for any number "
            "of calls.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    audio_base: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the HTML report finds the recordings: the address at which "
            "the input folder is served.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    copy_audio: Annotated[
        Copied | None,
        typer.Option(
            help="Copy the recordings beside the HTML report, as Opus: whole calls, "
            "or clips, in which everything but the moments is silent.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Show the HTML report in this machine's own browser, with the "
            "recordings, until interrupted.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the plots to this folder, as PNG and SVG.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only errors, and what --fail-if found; for cron.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    top: Annotated[
        int, typer.Option(min=1, help="Number of calls to list.", rich_help_panel=_HOW)
    ] = 20,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'MEASURE > NUMBER'",
            help="Exit with code 4 if this is true; may be repeated. MEASURE.low and "
            "MEASURE.high are the bounds of its interval.",
        ),
    ] = None,
) -> None:
    """Report what happened, what changed, and which calls to listen to."""
    from ser_batch.metadata.gathering import MetadataInputs
    from ser_batch.reporting.figures.overview import make_report
    from ser_batch.reporting.figures.periods import find_zone, parse_period
    from ser_batch.reporting.figures.selection import options_of
    from ser_batch.reporting.figures.thresholds import crossed_thresholds
    from ser_batch.results.results import open_results

    if html is None and (audio_base or copy_audio):
        raise UsageError("--audio-base and --copy-audio need --html")
    if serve and (html or call or format_ is not Format.table):
        raise UsageError("--serve cannot be combined with --html, --call or --format")
    if audio_base and copy_audio:
        raise UsageError("--audio-base and --copy-audio cannot be combined")
    if role not in ("customer", "agent"):
        message = f"--role {role}: must be customer or agent"
        raise UsageError(message, option="--role")
    start: str | datetime | None = since
    end: str | datetime | None = until
    if period is not None:
        if since or until:
            raise UsageError("--period and --since or --until cannot be combined")
        start, end = parse_period(period, zone=find_zone(timezone))
    options = options_of(
        MetadataInputs(metadata, name_pattern, sidecars),
        start,
        end,
        timezone,
        undated=undated is Undated.include,
        by=by,
        cluster=cluster,
        compare=compare,
        role=role,
        top=top,
        labels=labels,
    )
    with make_report(open_results(directory), options) as opened:
        if labels is not None:
            opened.results.keep_labels_folder(labels)
        crossed = crossed_thresholds(opened.report, fail_if or [])
        if html is not None:
            _write_page(opened, html, audio_base, copy_audio, quiet)
        if plots is not None:
            from ser_batch.reporting.pages.plots import draw_plots

            for path in draw_plots(opened.report, plots):
                _say_written(path, quiet)
        if serve:
            from ser_batch.reporting.pages.server import serve as serve_report

            # Ctrl-C is how one leaves it.
            with suppress(KeyboardInterrupt):
                serve_report(opened, _say_address)
        elif call is not None:
            _print_call(opened, call, role, format_)
        elif format_ is not Format.table or not (html or plots or quiet):
            _print(opened, format_)
    for line in crossed:
        typer.secho(f"ser: threshold crossed: {line}", err=True, fg="red")
    if crossed:
        raise typer.Exit(ExitCode.THRESHOLD)


def _write_page(
    opened: "Opened",
    html: str,
    audio_base: str | None,
    copied: Copied | None,
    quiet: bool,
) -> None:
    from ser_batch.reporting.figures.database import translated_errors
    from ser_batch.reporting.pages.html import page_path, write_html
    from ser_batch.reporting.pages.recordings import Recordings
    from ser_batch.text import counted

    page = page_path(html)
    into = "audio" if page.name == "index.html" else f"{page.stem}-audio"
    what = copied.value if copied else None
    recordings = Recordings(page.parent, audio_base, what, into)
    with translated_errors(opened.results):
        _say_written(write_html(opened, html, recordings), quiet)
    if n := recordings.unreachable:
        hint = (
            "their files cannot be read"
            if copied
            else "give --audio-base or --copy-audio"
        )
        typer.echo(
            f"{counted(n, 'recording')} cannot be played from there: {hint}", err=True
        )


def _say_written(path: Path, quiet: bool) -> None:
    if not quiet:
        typer.echo(f"written: {path}", err=True)


def _say_address(address: str) -> None:
    typer.echo(f"Open {address}\nPress Ctrl-C to stop.", err=True)


def _print(opened: "Opened", format_: Format) -> None:
    if format_ is Format.json:
        from ser_batch.reporting.pages.records import to_json

        typer.echo(to_json(opened.report))
    elif format_ is Format.csv:
        from ser_batch.reporting.pages.records import write_csv

        write_csv(opened, sys.stdout)
    elif format_ is Format.markdown:
        from ser_batch.reporting.pages.markdown import to_markdown

        typer.echo(to_markdown(opened.report), nl=False)
    else:
        from ser_batch.reporting.pages.strips import WIDTH
        from ser_batch.reporting.pages.terminal import page

        _console(WIDTH).print(page(opened.report))


def _print_call(opened: "Opened", call: str, role: str, format_: Format) -> None:
    from ser_batch.reporting.figures.database import translated_errors
    from ser_batch.reporting.figures.timeline_reading import find_call, read_timelines
    from ser_batch.reporting.pages.one_call import call_page
    from ser_batch.reporting.pages.records import timeline_json
    from ser_batch.reporting.pages.strips import WIDTH

    if format_ not in (Format.table, Format.json):
        raise UsageError(
            "--call: a single call is shown as a table or JSON, not as "
            + format_.value,
            option="--call",
        )
    with translated_errors(opened.results):
        wanted = [find_call(opened.connection, call)]
        found = read_timelines(opened.connection, opened.results, wanted, role)
        timeline = next(found)
    if format_ is Format.json:
        typer.echo(timeline_json(timeline))
    else:
        _console(WIDTH).print(call_page(timeline, opened.report.labels))


def _console(width: int):  # type: ignore[no-untyped-def]
    from ser_batch.cli.terminal import Terminal

    console = Terminal()
    console.width = min(console.width, width) if console.is_terminal else width
    return console

"""`ser report`: what the results say."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_batch.cli._options import MetadataFile, NamePattern, Sidecars
from ser_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ser_batch.report.overview import Opened

_WHICH, _HOW = "Which calls", "How it is shown"


class Format(StrEnum):
    """How the report is written to standard output."""

    table = "table"
    markdown = "markdown"
    json = "json"
    csv = "csv"


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.", show_default=False)],
    since: Annotated[
        str | None, typer.Option(help="From when on: 2026-01-31, 2026-01-31T14:00, 7d, 36h.", rich_help_panel=_WHICH)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until when; a day with all its hours.", rich_help_panel=_WHICH)
    ] = None,
    role: Annotated[
        str,
        typer.Option(help="Whose emotions, where agents were scored too: customer or agent.", rich_help_panel=_WHICH),
    ] = "customer",
    by: Annotated[
        str | None,
        typer.Option(
            help="Group by a column of the metadata, or folder, day, week, weekday, hour.", rich_help_panel=_WHICH
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Against another results directory, a period FROM..TO, or `previous`.", rich_help_panel=_WHICH
        ),
    ] = None,
    metadata: MetadataFile = None,
    name_pattern: NamePattern = None,
    sidecars: Sidecars = False,
    call: Annotated[
        str | None, typer.Option(metavar="CALL", help="One call, by path or id: its timeline.", rich_help_panel=_HOW)
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="A page, Markdown, everything as JSON, or a row for each call as CSV.",
            rich_help_panel=_HOW,
        ),
    ] = Format.table,
    html: Annotated[
        str | None,
        typer.Option(help="Write an interactive page: a file, or for any number of calls DIR/.", rich_help_panel=_HOW),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw the charts, as PNG and SVG.", rich_help_panel=_HOW)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many calls to list.", rich_help_panel=_HOW)] = 20,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="'MEASURE > NUMBER'", help="Exit with 4 if this holds; may be repeated.")
    ] = None,
) -> None:
    """Tells what happened, what changed, and where to listen."""
    from ser_batch.metadata import Sources
    from ser_batch.report.database import reading
    from ser_batch.report.overview import Options, check_thresholds, make_report, parse_time

    if role not in ("customer", "agent"):
        raise UsageError(f"--role {role}: is neither customer nor agent")
    options = Options(
        Sources(metadata, name_pattern, sidecars), parse_time(since) if since is not None else None,
        parse_time(until, end=True) if until is not None else None, by, compare, role, top,
    )  # fmt: skip
    with make_report(directory, options) as opened:
        crossed = check_thresholds(opened.report, fail_if or [])
        if html is not None:
            from ser_batch.report.html import write_html

            with reading(directory):
                typer.echo(f"written: {write_html(opened, directory, html)}", err=True)
        if plots is not None:
            from ser_batch.report.plots import draw_plots

            for path in draw_plots(opened.report, plots):
                typer.echo(f"written: {path}", err=True)
        if call is not None:
            with reading(directory):
                _print_call(opened, directory, call, role, format_)
        elif format_ is not Format.table or not (html or plots):
            _print(opened, format_)
    for line in crossed:
        typer.secho(f"ser: threshold crossed: {line}", err=True, fg="red")
    if crossed:
        raise typer.Exit(ExitCode.THRESHOLD)


def _print(opened: "Opened", format_: Format) -> None:
    if format_ is Format.json:
        from ser_batch.report.records import to_json

        typer.echo(to_json(opened.report))
    elif format_ is Format.csv:
        from ser_batch.report.records import write_csv

        write_csv(opened, sys.stdout)
    elif format_ is Format.markdown:
        from ser_batch.report.markdown import to_markdown

        typer.echo(to_markdown(opened.report), nl=False)
    else:
        from ser_batch.report.terminal import WIDTH, page

        _console(WIDTH).print(page(opened.report))


def _print_call(opened: "Opened", directory: Path, call: str, role: str, format_: Format) -> None:
    from ser_batch.report.one_call import call_page
    from ser_batch.report.records import timeline_json
    from ser_batch.report.terminal import WIDTH
    from ser_batch.report.timelines import read_timelines

    if format_ not in (Format.table, Format.json):
        raise UsageError(f"--call: one call is shown as a page or as JSON, not as {format_.value}")
    found: list[tuple[str]] = []
    for fits in ("recording_id = $1 OR path = $1", "ends_with(path, '/' || $1)"):
        found = found or opened.connection.execute(f"SELECT recording_id FROM calls WHERE {fits}", [call]).fetchall()
    if len(found) != 1:
        which = "there is no such call here" if not found else f"{len(found)} calls have this name; give the whole path"
        raise UsageError(f"--call {call}: {which}")
    timeline = next(read_timelines(opened.connection, directory, [found[0][0]], role))
    if format_ is Format.json:
        typer.echo(timeline_json(timeline))
    else:
        _console(WIDTH).print(call_page(timeline, opened.report.labels))


def _console(width: int):  # type: ignore[no-untyped-def]
    from ser_batch.cli.terminal import Terminal

    console = Terminal()
    console.width = min(console.width, width) if console.is_terminal else width
    return console

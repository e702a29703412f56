"""Options that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_KNOWN = "What is known of the calls"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, globs, or @list.txt.",
        show_default=False,
    ),
]
MetadataFile = Annotated[
    Path | None,
    typer.Option(
        "--metadata", help="A CSV with a row for each call.", rich_help_panel=_KNOWN
    ),
]
NamePattern = Annotated[
    str | None,
    typer.Option(
        "--name-pattern",
        help="What file names tell: a pattern with named groups, or freepbx, 3cx, vicidial.",
        rich_help_panel=_KNOWN,
    ),
]
Sidecars = Annotated[
    bool,
    typer.Option(
        "--sidecars", help="Read call.json beside call.wav.", rich_help_panel=_KNOWN
    ),
]


class Undated(StrEnum):
    """What becomes of calls with no known start."""

    exclude = "exclude"
    include = "include"


Timezone = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="Time zone of days and hours, such as Europe/Berlin. By default this "
        "machine's.",
        rich_help_panel=_KNOWN,
    ),
]
UndatedCalls = Annotated[
    Undated,
    typer.Option(
        help="Calls whose start is unknown: exclude them from periods and trends, or "
        "include them by the time of the file's last change.",
        rich_help_panel=_KNOWN,
    ),
]

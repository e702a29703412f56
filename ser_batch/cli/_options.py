"""Options shared by several commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_KNOWN = "Call metadata"

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
        "--metadata", help="CSV file with one row per call.", rich_help_panel=_KNOWN
    ),
]
NamePattern = Annotated[
    str | None,
    typer.Option(
        "--name-pattern",
        help="Read metadata from file names: a regular expression with named "
        "groups, or freepbx, 3cx, vicidial or genesys.",
        rich_help_panel=_KNOWN,
    ),
]
Sidecars = Annotated[
    bool,
    typer.Option(
        "--sidecars", help="Read call.json next to call.wav.", rich_help_panel=_KNOWN
    ),
]


class Undated(StrEnum):
    """Treatment of calls with an unknown start."""

    exclude = "exclude"
    include = "include"


Timezone = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="Time zone of days and hours, such as Europe/Berlin. Default: this "
        "machine's.",
        rich_help_panel=_KNOWN,
    ),
]
UndatedCalls = Annotated[
    Undated,
    typer.Option(
        help="Calls with an unknown start: exclude them from periods and trends, or "
        "include them by the modification time of the file.",
        rich_help_panel=_KNOWN,
    ),
]

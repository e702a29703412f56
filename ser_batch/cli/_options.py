"""Options shared by several commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.errors import UsageError
from ser_batch.storage.checkout import results_folder
from ser_batch.storage.objects import is_address

_KNOWN = "Call metadata"


def any_results(given: str) -> Path:
    """Return the path of a results directory, or of the working copy of a stored one.

    Raises:
        BadParameter: it is an address that cannot be opened.
    """
    try:
        return results_folder(given)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


def local_folder(given: str) -> Path:
    """Return a path that must be on this machine.

    Raises:
        BadParameter: it is the address of a folder in an object store.
    """
    try:
        stored = is_address(given)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None
    if stored:
        raise typer.BadParameter(f"{given}: this needs a folder on this machine")
    return Path(given)


ResultsDirectory = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A results directory, or its address in an object store.",
        show_default=False,
        parser=any_results,
    ),
]
LocalResults = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A results directory.",
        show_default=False,
        parser=local_folder,
    ),
]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, globs, or @list.txt.",
        show_default=False,
    ),
]
Bundle = Annotated[str, typer.Option(help="Name or path of the bundle.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")]
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

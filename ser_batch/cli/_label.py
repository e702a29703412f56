"""`ser label`: what people hear in a sample of a centre's own calls."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_batch.cli import help_pages
from ser_batch.cli._options import any_results
from ser_batch.errors import UsageError

if TYPE_CHECKING:
    from ser_batch.labelling.starting import Started

app = typer.Typer(
    cls=help_pages.Group,
    no_args_is_help=True,
    help="Label a sample of your own calls, to find out how good the model is on them "
    "and to make it better.",
)
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="LABELS",
        help="Folder made by ser label start.",
        show_default=False,
    ),
]


class Tool(StrEnum):
    """Other tools that labels are written for."""

    LABEL_STUDIO = "label-studio"
    CSV = "csv"
    AUDFORMAT = "audformat"


@app.command(**help_pages.command("label start"))
def start_command(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            help="A results directory.",
            parser=any_results,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the clips and the labels.")
    ],
    segments: Annotated[
        int | None,
        typer.Option(min=1, help="Number of segments to draw. Default: 200."),
    ] = None,
    more: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Draw N more segments into an existing folder."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the draw. Default: 0.")
    ] = None,
    hash_paths: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY",
            help="Replace paths and ids of recordings by hashes with the key in this "
            "file, which is made if there is none.",
        ),
    ] = None,
) -> None:
    """Draw segments to be labelled, and cut a clip of each.

    Half are drawn at random, so that accuracy on all calls can be estimated; half where
    a label teaches the model most. Only what was scored is drawn.
    """
    from functools import partial

    from tqdm import tqdm

    from ser_batch.labelling.starting import draw_more, start_labelling

    bar = partial(
        tqdm, desc="cutting clips", unit="recording", leave=False, disable=None
    )
    if more is None:
        n = 200 if segments is None else segments
        started = start_labelling(results, out, n, seed or 0, hash_paths, bar)
    elif segments is not None or seed is not None:
        raise UsageError("--more goes on with the first draw: omit --segments, --seed")
    else:
        started = draw_more(results, out, more, hash_paths, bar)
    _print_started(started, out)


def _print_started(started: "Started", out: Path) -> None:
    from ser_batch.text import counted, printable

    for path, why in started.problems.items():
        typer.secho(f"left out: {printable(path)}: {why}", err=True, fg="yellow")
    labelling = started.labelling
    n, at_random = len(labelling.segments), int(labelling.is_random.sum())
    typer.echo(
        f"{counted(started.new, 'segment')} drawn, {n:,} in all: {at_random:,} at "
        f"random, {n - at_random:,} where a label teaches most; of "
        f"{labelling.record.population:,} scored segments"
    )
    typer.echo(f"Next: ser label serve {out} --labeller NAME")


@app.command(**help_pages.command("label serve"))
def serve_command(
    folder: Folder,
    labeller: Annotated[
        str, typer.Option(metavar="NAME", help="Who listens and answers.")
    ],
    dimensions: Annotated[
        bool,
        typer.Option("--dimensions", help="Ask for arousal and valence, too."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")
    ] = 0,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; any but this machine's needs TLS."),
    ] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key (PEM).")
    ] = None,
) -> None:
    """Listen to the clips in a browser, and label each with one key.

    Every answer is on disk before the next clip plays; the same command resumes.
    """
    from contextlib import suppress

    from ser_batch.addresses import Address
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.labelling.serving import serve_session
    from ser_batch.labelling.session import Session

    session = Session(open_labelling(folder), labeller, dimensions)
    address = Address(host, port, tls_certificate, tls_key)
    # Ctrl-C is how one leaves it.
    with suppress(KeyboardInterrupt):
        serve_session(session, address, _say_address)
    state = session.state()
    typer.echo(f"{state['done']} of {state['total']} clips answered by {labeller}")


def _say_address(address: str) -> None:
    typer.echo(f"Open {address} (Ctrl-C to end)")


@app.command(**help_pages.command("label status"))
def status_command(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how many clips are labelled, by whom, and how far labellers agree."""
    import json

    from ser_batch.cli.labelling_display import print_status
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.labelling.summary import labelling_status

    status = labelling_status(open_labelling(folder))
    if as_json:
        typer.echo(json.dumps(status, indent=2, ensure_ascii=False))
    else:
        print_status(status)


@app.command(**help_pages.command("label export"))
def export_command(
    folder: Folder,
    to: Annotated[Tool, typer.Option("--to", help="Tool to write for.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
) -> None:
    """Write clips and labels for another tool."""
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.labelling.interchange import export_labels
    from ser_batch.text import counted

    gone = export_labels(open_labelling(folder), to.value, out)
    typer.echo(f"written: {out}", err=True)
    if gone:
        typer.echo(f"{counted(gone, 'clip')} of the folder no longer exist", err=True)


@app.command(**help_pages.command("label import"))
def import_command(
    folder: Folder,
    file: Annotated[
        Path, typer.Argument(help="An export of Label Studio (JSON), or a CSV file.")
    ],
    labeller: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who answered, if the file does not say."),
    ] = "",
) -> None:
    """Add labels that were given in another tool."""
    from ser_batch.labelling.folder import open_labelling
    from ser_batch.labelling.interchange import import_labels
    from ser_batch.text import counted

    added = import_labels(open_labelling(folder), file, labeller)
    for name, n in added.items():
        typer.echo(f"{name}: {counted(n, 'new answer')}")
    if not added:
        typer.echo("no answers found")

"""`ser analyze`: folders of recordings in, Parquet out."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ser_batch.cli._options import Inputs, MetadataFile, NamePattern, Sidecars
from ser_batch.errors import ExitCode

if TYPE_CHECKING:
    from ser_batch.config.options import Config
    from ser_batch.metadata.gathering import MetadataInputs

_RUN, _SCORE, _SPEECH = "Run", "What is scored", "Audio and speech"


def command(
    inputs: Inputs,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The results directory; made where there is none."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with any of the options; the command line wins."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="GROUP.OPTION=VALUE",
            help="Any option of the configuration file.",
        ),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            help="Who speaks on each channel, as agent,customer: only the customer is scored.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    score_agents: Annotated[
        bool | None,
        typer.Option(
            "--score-agents",
            help="Score the agents' channels too.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="A bundle by name or path.  Default: telephone.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="What is normal where the recordings come from: auto (drawn by the first "
            "run), bundle (as in training), or a file of ser profile.  Default: auto.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(
            help="Give no label below this confidence; those of neutral and calm are "
            "added up.  Default: the bundle's.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    mix: Annotated[
        bool | None,
        typer.Option(
            "--mix", help="Take all channels as one.", rich_help_panel=_SPEECH
        ),
    ] = None,
    vad: Annotated[
        str | None,
        typer.Option(
            help="silero or pyannote.  Default: silero.", rich_help_panel=_SPEECH
        ),
    ] = None,
    vad_model: Annotated[
        str | None,
        typer.Option(
            help="pyannote: a local path, or a name on the hub.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    raw_sample_rate: Annotated[
        int | None,
        typer.Option(
            help="Hz of files without a header.  Default: by extension, mostly 8000.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    raw_channels: Annotated[
        int | None,
        typer.Option(
            help="Channels of files without a header.  Default: 1.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    metadata: MetadataFile = None,
    name_pattern: NamePattern = None,
    sidecars: Sidecars = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda or cuda:N.  Default: auto.", rich_help_panel=_RUN
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Segments scored together.  Default: 16 on a CPU, 64 on a GPU.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Decoding processes.  Default: by the cores.", rich_help_panel=_RUN
        ),
    ] = None,
    retry_failed: Annotated[
        bool | None,
        typer.Option(
            "--retry-failed", help="Try failed recordings again.", rich_help_panel=_RUN
        ),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict",
            help="Stop at the first recording that fails; those that failed before count too.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    log_file: Annotated[
        str | None,
        typer.Option(
            help="Append an event for each recording, as JSON lines.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List what would be analysed, and leave.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Say nothing but errors.", rich_help_panel=_RUN
        ),
    ] = False,
) -> None:
    """Finds speech in recordings and scores its emotion, segment by segment.

    Run it again on the same --out, and only new and changed recordings are analysed; also after a
    crash. Exit codes: 0 all done, 2 wrong usage, 3 some recordings failed, 130 interrupted.
    """
    from ser_batch.config.options import Config, parse_assignments
    from ser_batch.metadata.gathering import MetadataInputs

    call_metadata = MetadataInputs(metadata, name_pattern, sidecars)
    call_metadata.check()
    settings = Config.from_toml(config) if config else Config()
    settings = settings.updated(parse_assignments(set_ or []))
    flags: dict[str, dict[str, Any]] = {
        "audio": {
            "mix": mix,
            "raw_sample_rate": raw_sample_rate,
            "raw_channels": raw_channels,
        },
        "vad": {"engine": vad, "model": vad_model},
        "score": {
            "bundle": bundle,
            "roles": None
            if roles is None
            else [role.strip() for role in roles.split(",")],
            "score_agents": score_agents,
            "profile": profile,
            "abstain_below": abstain_below,
        },
        "run": {
            "device": device,
            "batch_size": batch_size,
            "workers": workers,
            "retry_failed": retry_failed,
            "strict": strict,
            "log_file": log_file,
        },
    }
    given = {
        group: {k: v for k, v in values.items() if v is not None}
        for group, values in flags.items()
    }
    settings = settings.updated(given)
    if dry_run:
        _list(inputs, out, settings)
    else:
        _run(inputs, out, settings, call_metadata, quiet)


def _list(inputs: list[str], out: Path, settings: "Config") -> None:
    from ser_batch.pipeline import plan
    from ser_batch.text import printable

    signal.signal(
        signal.SIGPIPE, signal.SIG_DFL
    )  # `| head` ends it as it ends any command
    found, pending = plan(inputs, out, settings)
    for task in pending:
        typer.echo(printable(task.recording.file))
    typer.echo(
        f"{len(pending)} of {len(found.recordings)} recordings would be analysed"
        + (f"; {found.ignored} files are no audio" if found.ignored else ""),
        err=True,
    )


def _run(
    inputs: list[str],
    out: Path,
    settings: "Config",
    call_metadata: "MetadataInputs",
    quiet: bool,
) -> None:
    from ser_batch.cli.interruption import stopping
    from ser_batch.cli.run_display import Display, print_summary
    from ser_batch.pipeline import run
    from ser_batch.results.results import read_stably

    with stopping() as stop, Display(quiet, stop) as display:
        progress = run(inputs, out, settings, stop, display.update)
    notes = []
    if call_metadata:
        notes = read_stably(out, lambda results: results.keep_metadata(call_metadata))
    try:
        print_summary(progress, out, settings, quiet)
        for note in notes:
            typer.echo(f"note: {note}", err=True)
    except OSError:
        # Nobody can read it: the run is done all the same, and its exit code tells how it went.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if not progress.found:
        held = f", and {out} holds {progress.held}" if progress.held else ""
        typer.secho(
            f"ser: there is no recording in {', '.join(inputs)}{held}: is it mounted?",
            err=True,
            fg="yellow",
        )
        raise typer.Exit(ExitCode.SOME_FAILED if progress.held else ExitCode.DONE)
    if progress.interrupted and not (settings.run.strict and progress.failed):
        raise typer.Exit(ExitCode.INTERRUPTED)
    if (
        progress.failed
        or progress.unreadable
        or (settings.run.strict and progress.failed_before)
    ):
        raise typer.Exit(ExitCode.SOME_FAILED)

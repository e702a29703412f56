"""`ser analyze`: folders of recordings in, Parquet out."""

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ser_batch.cli._options import Inputs, MetadataFile, NamePattern, Sidecars
from ser_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ser_batch.config.options import Config
    from ser_batch.metadata.gathering import MetadataInputs

_RUN, _SCORE, _SPEECH = "Run", "Scoring", "Audio and speech"


class Where(StrEnum):
    """Where recordings are analysed."""

    LOCAL = "local"
    RAY = "ray"


def command(
    inputs: Inputs,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The results directory, or an address in an object store; created if "
            "missing.",
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of the options; the command line takes precedence."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="GROUP.OPTION=VALUE",
            help="Set any option of the configuration file.",
        ),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            help="Role on each channel, as in agent,customer: only the customer is "
            "scored.",
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
    speakers: Annotated[
        str | None,
        typer.Option(
            help="Voices on a single channel: 2, or a range such as 1-4; 1 tells none "
            "apart. Default: 2 with both roles, else 1.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    agent_is: Annotated[
        str | None,
        typer.Option(
            help="On a single channel with --roles agent,customer: the agent is the "
            "voice that speaks first, last or most.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    diarizer: Annotated[
        str | None,
        typer.Option(
            help="What tells voices apart: ser (its own voice model) or pyannote. "
            "Default: ser.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    diarizer_model: Annotated[
        str | None,
        typer.Option(
            help="The pyannote pipeline: a local folder, or a name on the Hugging Face "
            "Hub.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="Name or path of the bundle. Default: telephone.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Normalisation statistics: auto (a profile of the place, estimated by "
            "the first run), bundle (those of training), or a file written by ser "
            "profile. Default: auto.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(
            help="Assign no label below this certainty: the confidence, with neutral "
            "and calm added together. Default: the bundle's.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    mix: Annotated[
        bool | None,
        typer.Option(
            "--mix", help="Mix all channels into one.", rich_help_panel=_SPEECH
        ),
    ] = None,
    vad: Annotated[
        str | None,
        typer.Option(
            help="VAD engine: silero or pyannote. Default: silero.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    vad_model: Annotated[
        str | None,
        typer.Option(
            help="The pyannote model: a local path, or a name on the Hugging Face Hub.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    raw_sample_rate: Annotated[
        int | None,
        typer.Option(
            help="Sample rate (Hz) of headerless files. Default: by extension, mostly "
            "8000.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    raw_channels: Annotated[
        int | None,
        typer.Option(
            help="Number of channels of headerless files. Default: 1.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    metadata: MetadataFile = None,
    name_pattern: NamePattern = None,
    sidecars: Sidecars = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device: auto, cpu, cuda or cuda:N. Default: auto.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Segments per batch. Default: 16 on a CPU, 64 on a GPU.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of decoding processes. Default: based on the number of cores.",
            rich_help_panel=_RUN,
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
            help="Stop at the first recording that fails, and exit with 3 if any has "
            "failed, even in an earlier run.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    log_file: Annotated[
        str | None,
        typer.Option(
            help="Append one event per recording to this file, as JSON lines.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Analyse only share K of N, such as 3/16; ser merge joins them.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    engine: Annotated[
        Where | None,
        typer.Option(
            help="Where recordings are analysed: on this machine, or on a Ray cluster. "
            "Default: local.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster: auto, or ray://host:10001. Default: start Ray here.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of an object store, such as endpoint=ADDRESS; repeatable. "
            "Credentials come from the environment.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List the recordings that would be analysed, and exit.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=_RUN),
    ] = False,
) -> None:
    """Find speech in recordings and score its emotion, segment by segment.

    Run it again with the same --out, also after a crash, and only new and changed
    recordings are analysed. Exit codes: 0 all done, 2 usage error, 3 some
    recordings failed, 130 interrupted.
    """
    from ser_batch.config.options import Config, parse_assignments
    from ser_batch.metadata.gathering import MetadataInputs
    from ser_batch.storage.checkout import results_folder
    from ser_batch.storage.objects import storage_options

    for path in inputs:
        if path.lower().endswith(".csv") and Path(path).is_file():
            raise UsageError(
                f"{path}: a table is not a recording. Call metadata is given as "
                f"--metadata {path}, a list of recordings as @{path}"
            )
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
        "speakers": {
            "count": speakers,
            "agent_is": agent_is,
            "engine": diarizer,
            "model": diarizer_model,
        },
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
            "shard": shard,
            "engine": engine and engine.value,
            "ray_address": ray_address,
            "storage_options": storage_option,
        },
    }
    given = {
        group: {k: v for k, v in values.items() if v is not None}
        for group, values in flags.items()
    }
    settings = settings.updated(given)
    directory = results_folder(out, storage_options(settings.run.storage_options))
    if dry_run:
        _list(inputs, directory, settings)
    else:
        _run(inputs, directory, settings, call_metadata, quiet)


def _list(inputs: list[str], out: Path, settings: "Config") -> None:
    from ser_batch.pipeline import plan
    from ser_batch.text import printable

    # Let a closed pipe (`| head`) end the listing, as it ends any command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    found, pending = plan(inputs, out, settings)
    for task in pending:
        typer.echo(printable(task.recording.file))
    typer.echo(
        f"{len(pending)} of {len(found.recordings)} recordings would be analysed"
        + (f"; {found.ignored} files are not audio" if found.ignored else ""),
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
    from ser_batch.storage.checkout import name_of

    with stopping() as stop, Display(quiet, stop) as display:
        progress = run(inputs, out, settings, stop, display.update)
    notes = []
    if call_metadata:
        notes = read_stably(out, lambda results: results.keep_metadata(call_metadata))
    try:
        print_summary(progress, name_of(out), settings, quiet)
        for note in notes:
            typer.echo(f"note: {note}", err=True)
    except OSError:
        # The output is gone, but the run is complete, and its exit code still matters.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if not progress.found:
        held = f", but {name_of(out)} contains {progress.held}" if progress.held else ""
        typer.secho(
            f"ser: no recordings in {', '.join(inputs)}{held}: is it mounted?",
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

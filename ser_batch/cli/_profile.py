"""`ser profile`: the normalisation statistics of a place."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ser_batch.cli import help_pages
from ser_batch.cli._options import Inputs, LocalResults, any_results
from ser_batch.errors import ExitCode


class _MakeIsMeant(help_pages.Group):
    """Treats `ser profile calls/` as `ser profile make calls/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if not args or named else ["make", *args])


app = typer.Typer(
    cls=_MakeIsMeant,
    no_args_is_help=True,
    help="Make, show or refresh a profile: the normalisation statistics of a place, "
    "which reflect its telephone lines, language and voices. Needs no labels. ser "
    "analyze estimates a profile automatically.",
)


@app.command(**help_pages.command("profile make"))
def make_command(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write.")],
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with options, as for ser analyze."),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(help="Role on each channel: one profile per role."),
    ] = None,
    speakers: Annotated[
        str | None,
        typer.Option(help="Voices on a single channel, as for ser analyze."),
    ] = None,
    agent_is: Annotated[
        str | None,
        typer.Option(help="Which voice of a single channel is the agent's."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(help="Bundle to make the profile for. Default: telephone."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Device: auto, cpu, cuda or cuda:N. Default: auto."),
    ] = None,
) -> None:
    """Make a profile from a sample of recordings; the word `make` can be omitted.

    Pass it to ser analyze or ser predict as --profile, or to ser_batch.load.
    """
    from ser_batch.cli.interruption import stopping
    from ser_batch.config.options import Config
    from ser_batch.errors import UsageError
    from ser_batch.pipeline import profile_place

    settings = Config.from_toml(config) if config else Config()
    named = None if roles is None else [role.strip() for role in roles.split(",")]
    given: dict[str, dict[str, Any]] = {
        "speakers": {"count": speakers, "agent_is": agent_is},
        "score": {"roles": named, "bundle": bundle, "profile": "bundle"},
        "run": {"device": device},
    }
    settings = settings.updated(
        {
            group: {k: v for k, v in values.items() if v is not None}
            for group, values in given.items()
        }
    )
    with stopping() as stop:
        made = profile_place(inputs, settings, stop)
    if stop.is_set():
        raise typer.Exit(ExitCode.INTERRUPTED)
    if made is None:
        raise UsageError(f"no speech found in {', '.join(inputs)}: no profile was made")
    try:
        made.write(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    _print(made)


@app.command(**help_pages.command("profile show"))
def show_command(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|DIR",
            help="A profile or a results directory.",
            show_default=False,
            parser=any_results,
        ),
    ],
) -> None:
    """Show what a profile was estimated from, and how far it is from training data."""
    from ser_batch.emotion.profile import read_profile
    from ser_batch.results.profiles import read_results_profile
    from ser_batch.results.results import open_results
    from ser_batch.storage.checkout import name_of

    if place.is_dir():
        profile = read_results_profile(place, open_results(place).identity)
        if profile is None:
            typer.echo(f"{name_of(place)}: scored without a profile")
            return
    else:
        profile = read_profile(place)
    _print(profile)


@app.command(**help_pages.command("profile refresh"))
def refresh_command(
    directory: LocalResults,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors.")
    ] = False,
) -> None:
    """Estimate a new profile for a results directory, and rescore everything.

    The old rows are kept until the new ones are complete. After an interruption, the
    same command resumes where it stopped.
    """
    from ser_batch.cli.interruption import stopping
    from ser_batch.cli.run_display import Display
    from ser_batch.refreshing import refresh

    with stopping() as stop, Display(quiet, stop) as display:
        progress = refresh(directory, stop, display.update)
    if progress.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not quiet:
        show_command(directory)
    if progress.failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _print(profile: Any) -> None:
    from rich.table import Column, Table

    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.place import place_weight

    table = Table(
        Column("role"),
        Column("recordings", justify="right"),
        Column("segments", justify="right"),
        Column("weight", justify="right"),
        Column("distance", justify="right"),
        title=f"profile {profile.profile_id} for {profile.model_id}",
        caption="weight: the share of the normalisation statistics that comes from "
        "this place; the rest comes from training. distance: between the mean "
        "spectrum and that of training, in variances.",
    )
    for role, own in profile.roles.items():
        table.add_row(
            role or "everyone",
            f"{own.recordings}",
            f"{own.segments}",
            f"{place_weight(own.recordings):.0%}",
            f"{own.distance:.2f}",
        )
    Terminal().print(table)

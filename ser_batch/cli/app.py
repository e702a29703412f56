"""The `ser` command and its subcommands; maps errors to exit codes.

Commands import their dependencies when they run, which keeps `ser --help` fast.
"""

import errno
import os
import sys
import warnings
from typing import Annotated

import typer

from ser_batch.cli import (
    _adapt,
    _analyze,
    _compare,
    _corpus,
    _doctor,
    _evaluate,
    _export,
    _label,
    _maintain,
    _models,
    _predict,
    _profile,
    _report,
    _serve,
    _stream,
    _train,
)
from ser_batch.cli.help_pages import Command, Group, command
from ser_batch.errors import (
    AccountingError,
    ClusterError,
    ExitCode,
    SerError,
    UsageError,
)
from ser_batch.storage.checkout import with_addresses
from ser_batch.version import __version__

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech emotion analytics for call recordings: folders of calls in, "
    "per-segment emotions out.",
)
app.command(**command("analyze"))(_analyze.command)
app.command(**command("report"))(_report.command)
app.command(**command("export"))(_export.command)
app.command(**command("verify"))(_maintain.verify_command)
app.command(**command("compact"))(_maintain.compact_command)
app.command(**command("merge"))(_maintain.merge_command)
app.command(**command("path"))(_maintain.path_command)
app.command(**command("forget"))(_maintain.forget_command)
app.command(**command("relocate"))(_maintain.relocate_command)
app.command(**command("predict"))(_predict.command)
app.command(**command("stream"))(_stream.command)
app.command(**command("serve"))(_serve.command)
app.add_typer(_profile.app, name="profile")
app.add_typer(_label.app, name="label")
app.command(**command("train"))(_train.command)
app.command(**command("adapt"))(_adapt.command)
app.command(**command("evaluate"))(_evaluate.command)
app.command(**command("compare"))(_compare.command)
app.add_typer(_corpus.app, name="corpus")
app.add_typer(_models.app, name="models")
app.command(**command("doctor"))(_doctor.command)


@app.command("help", cls=Command)
def _help(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", help="As in: ser help corpus check."),
    ] = None,
) -> None:
    """Show the help of a command."""
    app([*(words or []), "--help"])


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ser {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run `ser` and exit with one of `ExitCode`.

    Typer handles invalid options (2) and Ctrl-C (130).
    """
    _reopen_closed_streams()
    warnings.showwarning = lambda message, *_: typer.secho(
        f"ser: {message}", err=True, fg="yellow"
    )
    # File names may contain bytes that are not text; printing one must not end the run.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except UsageError as error:
        _exit(str(error), ExitCode.USAGE)
    except BrokenPipeError:
        # As with any command, `| head` ends it; whatever it opened is closed by now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.PIPE) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(
            f"standard output cannot be written: {error.strerror}; free up disk space",
            ExitCode.USAGE,
        )
    except ClusterError as error:
        _exit(str(error), ExitCode.CLUSTER)
    except AccountingError as error:
        _exit(str(error), ExitCode.BUG)
    except SerError as error:
        _exit(str(error), ExitCode.SOME_FAILED)


def _reopen_closed_streams() -> None:
    """Open those of standard input, output and error that are closed.

    Otherwise the next files opened would get their descriptors, and their output.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _exit(message: str, code: ExitCode) -> None:
    typer.secho(f"ser: {with_addresses(message)}", err=True, fg="red")
    raise SystemExit(code)

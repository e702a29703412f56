"""Run `ser` as a user does: in this process, or in a new one."""

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch

from ser_batch.cli.app import main


def ser(*args: object) -> CompletedProcess[str]:
    """Run a command in this process, and return its exit code and what it printed.

    Starting an interpreter with torch takes longer than most commands do. Tests that
    depend on signals, real streams or the environment need `ser_process`.
    """
    command = ["ser", *map(str, args)]
    out, errors = _stream(), _stream()
    code: object = 0
    with (
        patch.object(sys, "argv", command),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
    assert isinstance(code, int)
    return CompletedProcess(command, code, _text(out), _text(errors))


def ser_process(*args: object, **kwargs: object) -> CompletedProcess[str]:
    """Run a command in a new process; keywords are those of `subprocess.run`."""
    return subprocess.run(  # type: ignore[call-overload]
        command_line(*args),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=240,
        **kwargs,
    )


def command_line(*args: object) -> list[str]:
    """Return what starts a command in a process of its own, for `Popen`."""
    return [sys.executable, "-m", "ser_batch", *map(str, args)]


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "surrogateescape")

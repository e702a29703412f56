"""A console whose reader may go away."""

from rich.console import Console


class Terminal(Console):
    """A rich console that leaves a broken pipe to its caller; rich would silence standard output and exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

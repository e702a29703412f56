"""A rich console for output whose reader may go away."""

from rich.console import Console


class Terminal(Console):
    """A console that leaves a broken pipe to its caller.

    Rich itself would silence standard output and exit with code 1.
    """

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError instead of exiting."""
        raise BrokenPipeError

"""Options that depend on optional packages."""

from importlib.util import find_spec

from ser_batch.errors import UsageError


def require_extra(option: str, extra: str, package: str) -> None:
    """Check that the package behind an option is installed.

    Raises:
        UsageError: it is not installed; the message names the extra to install.
    """
    if find_spec(package) is None:
        raise UsageError(
            f"{option} needs {package}: pip install 'ser-batch[{extra}]'",
            option=option,
        )

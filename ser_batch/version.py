"""The version of this package, as `ser --version` and every row of results say it."""

__version__ = "0.1.0"

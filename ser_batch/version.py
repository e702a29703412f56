"""Version of this package, as shown by `ser --version` and stored in every row."""

__version__ = "0.1.0"

"""The options of an analysis, and their conversion from and to TOML and JSON."""

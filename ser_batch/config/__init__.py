"""Every option of an analysis, and how options are read from TOML and JSON."""

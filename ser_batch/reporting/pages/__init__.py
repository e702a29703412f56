"""Reports for people (terminal, Markdown, plots, HTML) and for machines (JSON, CSV)."""

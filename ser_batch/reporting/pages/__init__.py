"""Reports for people: the terminal, Markdown, charts, the page; and JSON and CSV."""

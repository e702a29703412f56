"""Sources of recordings: which files are audio, and how they are found and read."""

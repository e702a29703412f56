"""Call metadata (agent, queue, start time) from CSV, file names and sidecars."""

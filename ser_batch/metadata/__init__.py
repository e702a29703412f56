"""Call metadata: agent, queue, when a call began; from CSV, file names and sidecars."""

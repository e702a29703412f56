"""Who runs the stages: processes, the loop that joins them, and what a run records."""

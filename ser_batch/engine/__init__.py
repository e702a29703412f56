"""Running the stages: processes, the loop that joins them, and the run record."""

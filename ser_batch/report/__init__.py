"""Results tables to what an analyst needs. Never imports torch."""

"""Clips become utterances, splits and augmented batches."""

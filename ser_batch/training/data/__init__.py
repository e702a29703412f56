"""Data preparation: clips to utterances, splits and augmented batches."""

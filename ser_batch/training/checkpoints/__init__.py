"""Adding checkpoints of transformers as bundles."""

"""Checkpoints of transformers as models: the extra `large`. Start with `scorer.py`."""

"""Training, from emotion corpora to bundles.

The subpackages are layered: `corpora`, `data`, `evaluation`, `fit`, `places`. Each
imports only those named before it.
"""

"""Emotion corpora to bundles: corpora, data, evaluation, fit; each uses those before."""

"""Emotion corpora on disk become lists of labelled clips."""

"""Readers that turn emotion corpora on disk into lists of labelled clips."""

"""Adapting a bundle to labelled segments of a centre's own calls."""

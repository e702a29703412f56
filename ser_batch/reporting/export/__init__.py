"""Exports of results to the formats of other tools."""

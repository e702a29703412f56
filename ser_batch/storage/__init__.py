"""Durable bytes: files that are written whole or not at all."""

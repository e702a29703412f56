"""Durable storage: files are written completely or not at all."""

"""Reporting on results: figures, reports and exports. Never imports torch."""

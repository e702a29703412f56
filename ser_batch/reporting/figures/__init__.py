"""Measures of single calls and of groups of calls, computed out of core in DuckDB."""

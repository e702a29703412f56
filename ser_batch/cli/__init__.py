"""The command line: parse, call, render, map errors to exit codes."""

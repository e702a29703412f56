"""The command line: parse options, call, render, map errors to exit codes."""

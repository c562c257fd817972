"""The command line: one function is one command."""

"""The command line: parse, make options, call once, write. Alone owns typer, rich and exit codes.

Nothing here imports torch before a command runs: `glip --help` and completion must be instant.
"""

"""The `adaptkit` command, one verb a file."""

from trainers.cli.command import main

__all__ = ["main"]

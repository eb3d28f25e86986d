"""The command line. It may import every package, and imports what is slow only inside the command that needs it."""

from searchflow.cli.app import main

__all__ = ["main"]

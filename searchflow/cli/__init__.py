"""The command line. It may import every package, and imports what is slow only inside the command that needs it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; never returns. Ctrl-C while libraries are loaded ends it as quietly as later."""
    try:
        from searchflow.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("searchflow: Stopped.", file=sys.stderr)  # noqa: T201
        sys.exit(130)

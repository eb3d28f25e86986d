"""The command line. It may import every package. A command imports slow libraries only inside its function."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; this never returns. Ctrl-C while libraries are loaded ends it as quietly as later."""
    try:
        from searchflow.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("searchflow: Stopped.", file=sys.stderr)  # noqa: T201
        sys.exit(130)

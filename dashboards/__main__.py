"""`python -m dashboards --port 8501`: the pages of the home in SEARCHFLOW_HOME, on loopback."""

from __future__ import annotations

import argparse
import sys

from dashboards import PROCESS, serve
from searchflow import actor
from searchflow.errors import SearchFlowError
from searchflow.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. A mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--port", type=int, default=None, help="loopback port; default: SEARCHFLOW_DASHBOARDS_PORT")
    options = parser.parse_args(arguments)
    actor.announce(PROCESS)  # also where `searchflow up` started it
    try:
        serve(load_settings(), port=options.port)
    except SearchFlowError as error:
        print(error, file=sys.stderr)  # noqa: T201 (this is a command)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())

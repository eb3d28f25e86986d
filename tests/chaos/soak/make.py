"""Make all models of a home at a given moment: `python -m tests.chaos.soak.make 2026-10-31T23:59:00+00:00`.

A process of its own, in the copy of the tree: SQLMesh reads the environment of the process for one home.
"""

from __future__ import annotations

import sys
from datetime import datetime

from searchflow import transformation
from searchflow.settings import load_settings


def main() -> None:
    """Plan or run."""
    result = transformation.transform(load_settings(), now=datetime.fromisoformat(sys.argv[1]))
    print(f"{len(result.models)} models in {result.duration_s:.0f} s")


if __name__ == "__main__":
    main()

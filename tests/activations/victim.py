"""A sync that dies: `python victim.py HOME SYNC WHEN NUMBER` kills itself with SIGKILL at the NUMBER-th batch.

WHEN is `delivered` (the destination took the batch, the ledger does not know) or `recorded` (the ledger knows).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from activations import run_sync
from activations.ledger import Ledger
from searchflow.settings import load_settings
from tests.activations.scene import NOW


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(home: str, sync: str, when: str, number: int, folder: str) -> None:
    recorded = 0
    acknowledge = Ledger.acknowledge

    def dying(self: Ledger, *arguments: Any) -> None:
        nonlocal recorded
        if when == "delivered" and recorded + 1 == number:
            die()
        acknowledge(self, *arguments)
        recorded += 1
        if when == "recorded" and recorded == number:
            die()

    Ledger.acknowledge = dying  # type: ignore[method-assign]
    run_sync(load_settings(home=Path(home)), sync, now=NOW, folder=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])

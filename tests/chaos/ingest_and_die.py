"""Run by the kill test: ingest one stream, and die by SIGKILL at a named step of a commit, the n-th time it is reached.

    python -m tests.chaos.ingest_and_die HOME EVENT_TYPE STEP NTH

The product has no hook for this: the steps are its own functions, wrapped here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from searchflow.ingestion import checks, commit, stream_source, worker
from searchflow.settings import load_settings

# step -> (where the function is, its name, die before or after it)
STEPS: dict[str, tuple[Any, str, str]] = {
    "after reading a batch": (stream_source.StreamSource, "_read", "after"),
    "after validating it": (checks, "prepare", "after"),
    "before the position moves": (commit, "_move_position", "before"),
    "after the position moved": (commit, "_move_position", "after"),
    "after looking for duplicates": (commit, "new_rows", "after"),
    "after the rows": (commit, "insert", "after"),
    "after the dead letters": (commit, "insert_dead_letters", "after"),
    "inside the commit": (commit.record, "rows", "after"),
    "after the commit, before the trim": (stream_source.StreamSource, "committed", "before"),
    "after the trim": (stream_source.StreamSource, "committed", "after"),
}


def die_at(step: str, nth: int) -> None:
    """Wrap the step's function."""
    owner, name, when = STEPS[step]
    original: Callable[..., Any] = getattr(owner, name)
    reached = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal reached
        reached += 1
        if when == "before" and reached == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and reached == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def main() -> None:
    home, event_type, step, nth = sys.argv[1:]
    if step != "none":
        die_at(step, int(nth))
    worker.ingest_stream(load_settings(home=home), event_type, batch_events=400)


if __name__ == "__main__":
    main()

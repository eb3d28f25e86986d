"""Waiting: a process that waits for another says which one, once the wait takes longer than a moment."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from searchflow import actor

SILENT_SECONDS = 5.0
"""Seconds that a wait may last before a message says so."""
PAUSE_SECONDS = 0.05


def say(message: str) -> None:
    """Write one line on standard error: standard output belongs to results."""
    sys.stderr.write(f"searchflow: {message}\n")
    sys.stderr.flush()


def command() -> str:
    """Return what this process is called in its connections and locks, for example `searchflow transform`.

    It never holds the command's arguments, which may name people.
    """
    return (actor.inside() or os.environ.get(actor.VARIABLE, "")).partition("|")[0] or Path(
        sys.argv[0] or "python"
    ).name


def wait_for(take: Callable[[], bool], *, whom: Callable[[], str]) -> None:
    """Call `take` until it is true. After `SILENT_SECONDS`, say `whom()` it waits for, and again when that changes."""
    quiet_until, said = time.monotonic() + SILENT_SECONDS, ""
    while not take():
        if time.monotonic() >= quiet_until:
            if (found := whom()) != said:
                say(found)
                said = found
            quiet_until = time.monotonic() + SILENT_SECONDS
        time.sleep(PAUSE_SECONDS)


def sentence(lock: str, pid: int | str, name: str, since: datetime | None) -> str:
    """Return a sentence: who holds a lock, since when, and what to do."""
    began = f" since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if since is not None else ""
    return (
        f"waiting for process {pid} ({name or 'unknown'}), which holds the {lock} lock{began}. It goes on by itself; "
        f"Ctrl-C ends this wait."
    )

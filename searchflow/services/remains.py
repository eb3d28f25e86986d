"""Remains: what a PostgreSQL server that was killed leaves behind, cleared before the next one starts.

The server refuses to start while the process id in its lock files names a process. That process may be gone but not yet
collected by its parent (a zombie, for ever where nothing collects), on its way out, or another program that was given
the same id. Its backends live on until they notice, and hold its shared memory. So this module looks for processes that
really work in the data folder, and removes a lock file only when there is none.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil

LOCK_FILE = "postmaster.pid"
BACKENDS_SECONDS = 1.0
"""Seconds until a backend that waits for its client has noticed that the server is gone. A backend in a long query does
not look.
"""


def server_pid(data: Path) -> int | None:
    """Return the process id in the server's lock file, or None when there is none."""
    try:
        return abs(int((data / LOCK_FILE).read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def working_in(data: Path) -> list[psutil.Process]:
    """Return PostgreSQL's processes that run in this data folder: the server and its backends."""
    folder, found = str(data.resolve()), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.cwd() == folder and process.name().startswith("postgres"):
                found.append(process)
    return found


def clear(data: Path, sockets: Path) -> None:
    """Wait for the backends of a server that is gone, and end those that go on.

    Remove lock files that would be taken for a running server's. Call this when the server is gone.
    """
    pid = server_pid(data)
    if pid is None:
        return
    deadline = time.monotonic() + BACKENDS_SECONDS
    while (left := working_in(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # the next start recovers from the log, as after any crash
    psutil.wait_procs(left, timeout=10)
    if psutil.pid_exists(pid):
        (data / LOCK_FILE).unlink(missing_ok=True)
        for lock in sockets.glob(".s.PGSQL.*.lock"):
            lock.unlink(missing_ok=True)

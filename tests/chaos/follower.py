"""A worker as a process of its own: follows (or drains) the stream of searches of the home in SEARCHFLOW_HOME.

python -m tests.chaos.follower [--drain]
"""

from __future__ import annotations

import signal
import sys
import threading

from searchflow.errors import FencedError
from searchflow.ingestion import follow, worker
from searchflow.settings import load_settings


def main() -> None:
    """Until SIGTERM; exit status 0 when it ended in order, also when another worker was first."""
    settings, stop = load_settings(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if "--drain" not in sys.argv:
        follow.follow_stream(settings, "search", stop=stop, on_trouble=lambda error: print(error, file=sys.stderr))
        return
    sys.stdin.readline()  # both begin at the same moment
    try:
        worker.ingest_stream(settings, "search", batch_events=100)
    except FencedError:
        sys.stdout.write("fenced\n")


if __name__ == "__main__":
    main()

"""A worker as a process of its own: follows (or drains) streams of the home in SEARCHFLOW_HOME.

python -m tests.chaos.follower [--drain] [EVENT_TYPE ...]

Without a type it is the stream of searches.
"""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from searchflow.errors import FencedError
from searchflow.ingestion import follow, worker
from searchflow.settings import load_settings


def main() -> None:
    """Until SIGTERM; exit status 0 when it ended in order, also when another worker was first."""
    settings, stop = load_settings(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    event_types = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or ["search"]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if "--drain" not in sys.argv:
        work = partial(
            follow.follow_stream, settings, stop=stop, on_trouble=lambda error: print(error, file=sys.stderr)
        )
        with ThreadPoolExecutor(len(event_types)) as threads:
            list(threads.map(work, event_types))
        return
    sys.stdin.readline()  # both begin at the same moment
    try:
        for event_type in event_types:
            worker.ingest_stream(settings, event_type, batch_events=100)
    except FencedError:
        sys.stdout.write("fenced\n")


if __name__ == "__main__":
    main()

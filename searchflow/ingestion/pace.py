"""Micro-batches: how much to read at once and how long to collect, depending on how far behind we are.

A full batch means that more waits behind it: the next is read at once and may be twice as large, up to a bound. A batch
that was less than half full means that we have caught up: sizes shrink again, and events are collected for a moment, so
that ten events a second make one small commit a second and not ten.
"""

from __future__ import annotations

import threading
import time

from searchflow.ingestion.source import Source, SourceBatch

POLL_SECONDS = 0.2
"""Seconds after which a source that cannot wait by itself is asked again."""


class BatchPace:
    """The size of the next batch (`lines`, between `least` and `most`) and when to read it."""

    def __init__(self, least: int, most: int, seconds: float) -> None:
        self.least, self.most, self.seconds = least, max(least, most), seconds
        self.lines = least
        self._next_read = 0.0

    def pause(self, now: float) -> float:
        """Return the seconds until the next read is due."""
        return max(0.0, self._next_read - now)

    def saw(self, received: int, now: float) -> None:
        """Adapt to what a read at `now` brought."""
        if received >= self.lines:
            self.lines = min(self.most, self.lines * 2)
            self._next_read = now
            return
        if received < self.lines // 2:
            self.lines = max(self.least, self.lines // 2)
        self._next_read = now + self.seconds


class Paced:
    """A source as a worker that follows it sees it: reading waits for events, until `stop` is set."""

    def __init__(self, source: Source, pace: BatchPace, stop: threading.Event) -> None:
        self.shard, self.key, self.name, self.event_type = source.shard, source.key, source.name, source.event_type
        self._source, self._pace, self._stop = source, pace, stop
        self._over = threading.Event()

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """Return the next micro-batch of at most `limit` lines, whenever it comes. Return None once the source is told
        to end.
        """
        while not self._over.wait(self._pace.pause(time.monotonic())) and not self._stop.is_set():
            batch = self._source.read(after, limit=min(limit, self._pace.lines), wait_seconds=self._pace.seconds)
            if batch is not None:
                self._pace.saw(batch.received, time.monotonic())
                return batch
            self._pace.saw(0, time.monotonic() - self._pace.seconds + min(POLL_SECONDS, self._pace.seconds))
        return None

    def interrupt(self) -> None:
        """End a read under way, because its worker has failed or is done."""
        self._over.set()

    def committed(self, position: str) -> None:
        """Tell the source that everything up to `position` is committed."""
        self._source.committed(position)

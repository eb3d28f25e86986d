"""Reading ahead: while one batch is committed, the next is read and checked, and its events are looked up.

A batch needs only the position from the commit before it, and that is known as soon as the batch before was read;
`stored` explains what a look ahead can say of stored events. Reading and decoding keep one core busy, writing Parquet
the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import duckdb

from searchflow.ingestion import checks
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import Source, SourceBatch
from searchflow.ingestion.stored import Looks, LooksAhead


@dataclass(frozen=True)
class CheckedBatch:
    """A batch after its checks, and the stored events that were looked up ahead."""

    batch: SourceBatch
    prepared: checks.PreparedBatch
    looks: Looks = field(default_factory=dict)


@dataclass(frozen=True)
class ReadOptions:
    """How to read: the number of lines in a batch, the seconds to wait for the first, and what the checks need."""

    lines: int
    wait_seconds: float
    clock: Callable[[], datetime]
    limits: checks.TimeLimits
    shapes: Shapes
    looks: LooksAhead | None = None


class ReadAhead:
    """A reader that is one batch ahead of its user, never more. Memory is bounded by three batches, one of which is
    that of the last commit.
    """

    def __init__(self, source: Source, after: str | None, reading: ReadOptions) -> None:
        self._source, self._reading = source, reading
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        # A connection of its own, without the lake: the checks only look at columns.
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._awaited = threading.Event()
        self._last: checks.PreparedBatch | None = None
        self._pending: Future[CheckedBatch | None] = self._thread.submit(self._fetch, after)

    def next(self) -> CheckedBatch | None:
        """Return the batch after the one given last, or None when the source has no more. Raise what reading raised."""
        self._awaited.set()
        found = self._pending.result()
        self._awaited.clear()
        if found is not None:
            self._pending = self._thread.submit(self._fetch, found.batch.position)
        return found

    def _fetch(self, after: str | None) -> CheckedBatch | None:
        reading = self._reading
        batch = self._source.read(after, limit=reading.lines, wait_seconds=reading.wait_seconds)
        if batch is None:
            return None
        prepared = checks.prepare(
            self._connection, batch, self._source.event_type, reading.clock(), reading.limits, reading.shapes
        )
        before, self._last = self._last, prepared
        if reading.looks is None or self._awaited.is_set():  # nothing is committed meanwhile: no time would be gained
            return CheckedBatch(batch, prepared)
        return CheckedBatch(batch, prepared, reading.looks.look(prepared, before))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

"""Reading ahead: the next batch is read and checked while the one before it is committed.

A batch needs nothing of the commit before it but the position, and that is known as soon as it was read. Reading and
decoding keep one core busy, writing Parquet the other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import duckdb

from searchflow.ingestion import checks
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import Source, SourceBatch

Found = tuple[SourceBatch, checks.Prepared]


@dataclass(frozen=True)
class Reading:
    """How to read: lines a batch, seconds to wait for the first; and what the checks need."""

    lines: int
    wait_seconds: float
    clock: Callable[[], datetime]
    limits: checks.Limits
    shapes: Shapes


class ReadAhead:
    """One batch ahead of its user, never more: memory is bounded by two batches."""

    def __init__(self, source: Source, after: str | None, reading: Reading) -> None:
        self._source, self._reading = source, reading
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        # A connection of its own, without the lake: the checks only look at columns.
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._pending: Future[Found | None] = self._thread.submit(self._fetch, after)

    def next(self) -> Found | None:
        """The batch after the one given last, or None when the source has no more. Raises what reading raised."""
        found = self._pending.result()
        if found is not None:
            self._pending = self._thread.submit(self._fetch, found[0].position)
        return found

    def _fetch(self, after: str | None) -> Found | None:
        reading = self._reading
        batch = self._source.read(after, limit=reading.lines, wait_seconds=reading.wait_seconds)
        if batch is None:
            return None
        prepared = checks.prepare(
            self._connection, batch, self._source.event_type, reading.clock(), reading.limits, reading.shapes
        )
        return batch, prepared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

"""The worker: reads behind the stored position, commits, and lets the source forget. It does this any number of times,
until done.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import redis

from searchflow import streams, tracing, warehouse
from searchflow.clock import utc_now
from searchflow.errors import BrokenFileError, SourceGapError
from searchflow.ingestion import positions
from searchflow.ingestion.ahead import CheckedBatch, ReadAhead, ReadOptions
from searchflow.ingestion.checks import TimeLimits
from searchflow.ingestion.commit import Counts, commit
from searchflow.ingestion.cut import CommitGate
from searchflow.ingestion.file_source import FileSource, event_files
from searchflow.ingestion.pace import Paced
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import Source
from searchflow.ingestion.stored import KnownEvents, LooksAhead
from searchflow.ingestion.stream_source import StreamPosition, StreamSource
from searchflow.settings import Settings

Clock = Callable[[], datetime]
OnCommit = Callable[[str, Counts], None]
THREADS = max(1, (os.cpu_count() or 1) // len(streams.EVENT_TYPES))
"""DuckDB's threads for one worker. Each event type has a worker, and beside it a thread that reads ahead. With more
threads than cores, DuckDB's threads wait for each other in loops, which took a fifth of all CPU time.
"""


def limits_of(settings: Settings) -> TimeLimits:
    """Return what the settings say about time, as limits for the checks."""
    start = settings.history_start
    return TimeLimits(
        history_start=start if start.tzinfo else start.replace(tzinfo=UTC),
        future_tolerance=timedelta(seconds=settings.future_tolerance_seconds),
        lateness=timedelta(hours=settings.lateness_hours),
    )


@dataclass
class IngestionResult:
    """What one call of a worker did: counts in all and by shard, and how many commits it took."""

    counts: Counts = field(default_factory=Counts)
    by_shard: dict[str, Counts] = field(default_factory=dict)
    commits: int = 0
    files_loaded: int = 0
    files_known: int = 0
    broken: list[str] = field(default_factory=list)
    """Files that could not be read to their end: a sentence each."""

    def add(self, shard: str, counts: Counts, *, commits: int = 1) -> None:
        """Count one commit, or another worker's total."""
        self.counts.add(counts)
        self.by_shard.setdefault(shard, Counts()).add(counts)
        self.commits += commits


@dataclass(frozen=True)
class Draining:
    """How a source is drained: its options, and where results are counted."""

    clock: Clock
    result: IngestionResult
    """The result in which everything done is counted."""
    batch_events: int | None = None
    """Lines in a batch. Unset: as the settings say."""
    wait_seconds: float = 0.0
    on_commit: OnCommit | None = None
    stop: threading.Event | None = None
    """An event that ends the work: once it is set, the current commit is the last."""
    shapes: Shapes = field(default_factory=Shapes)
    """The fields that a worker has learnt while it drained one source after another."""
    load: positions.Watermarks | None = None
    """The watermarks that a load of several files found: its own files do not make each other late."""


def drain(settings: Settings, connection: duckdb.DuckDBPyConnection, source: Source, how: Draining) -> None:
    """Commit batch after batch until the source has no more, or until told to stop."""
    limits = replace(limits_of(settings), load=how.load)
    after = positions.position(connection, source.shard, source.key)
    lines, known = how.batch_events or settings.batch_events, KnownEvents()
    with (
        CommitGate(settings) as gate,
        looks_ahead(settings, connection) as looks,
        ReadAhead(
            source, after, ReadOptions(lines, how.wait_seconds, gate.steady(how.clock), limits, how.shapes, looks)
        ) as ahead,
        _reading_ends(source),
    ):
        while how.stop is None or not how.stop.is_set():
            found = _next(ahead, connection, source, after)
            if found is None:
                return
            batch, prepared = found.batch, found.prepared
            known.looked(found.looks)
            with tracing.span(f"ingest {source.shard}", links=batch.traces, source=source.name) as span:
                with gate.commit(prepared.columns):
                    counts = commit(
                        connection,
                        source,
                        batch,
                        after=after,
                        now=gate.stamp(how.clock),
                        limits=limits,
                        prepared=prepared,
                        erased=gate.tombstones(),
                        known=known if looks else None,
                    )
                tracing.note(span, **asdict(counts))
            source.committed(batch.position)
            after = batch.position
            how.result.add(source.name if source.shard == "file" else source.shard, counts)
            if how.on_commit is not None:
                how.on_commit(source.name, counts)


def _next(
    ahead: ReadAhead, connection: duckdb.DuckDBPyConnection, source: Source, after: str | None
) -> CheckedBatch | None:
    """Return the next batch.

    Entries that are gone behind our position are lost only if that is still the stored position: another worker removes
    what it has committed.

    Raises:
        FencedError: another worker drains the same source.
        SourceGapError: entries were removed that no worker has read.
    """
    try:
        return ahead.next()
    except SourceGapError:
        positions.look(connection, source, after)
        raise


@contextlib.contextmanager
def looks_ahead(settings: Settings, connection: duckdb.DuckDBPyConnection) -> Iterator[LooksAhead | None]:
    """Return a finder of looks ahead, or None with several streams a type: their workers move the guard all the time,
    and looks ahead would be in vain.
    """
    if settings.stream_shards > 1:
        yield None
        return
    with contextlib.closing(LooksAhead(connection)) as looks:
        yield looks


@contextlib.contextmanager
def _reading_ends(source: Source) -> Iterator[None]:
    """Tell a source that waits for events when no worker waits for it any more, so that a failed commit can be tried
    again.
    """
    try:
        yield
    finally:
        if isinstance(source, Paced):
            source.interrupt()


def ingest_stream(
    settings: Settings,
    event_type: str,
    *,
    shard: int = 0,
    clock: Clock = utc_now,
    wait_seconds: float = 0.0,
    batch_events: int | None = None,
    on_commit: OnCommit | None = None,
    stop: threading.Event | None = None,
) -> IngestionResult:
    """Drain one stream of one event type into raw."""
    how = Draining(clock, IngestionResult(), batch_events, wait_seconds, on_commit, stop)
    with streams.connect(settings) as client, warehouse.connect(settings, threads=THREADS) as connection:
        drain(settings, connection, StreamSource(client, event_type, shard), how)
    return how.result


def ingest_files(
    settings: Settings, path: Path, *, clock: Clock = utc_now, on_commit: OnCommit | None = None
) -> IngestionResult:
    """Load an event file or a folder of them. A file that was loaded before is recognised by its content and not loaded
    again.
    """
    result = IngestionResult()
    with warehouse.connect(settings, threads=THREADS) as connection:
        how = Draining(clock, result, on_commit=on_commit, load=positions.watermarks(connection))
        for file in event_files(path):
            before = result.commits
            try:
                with contextlib.closing(FileSource(file, positions.positions(connection, FileSource.shard))) as source:
                    drain(settings, connection, source, how)
            except BrokenFileError as error:  # a broken file does not stop the others
                result.broken.append(str(error))
                result.files_loaded += result.commits > before
                continue
            if result.commits == before:
                result.files_known += 1
            else:
                result.files_loaded += 1
    return result


def accept_gap(settings: Settings, event_type: str, *, clock: Clock = utc_now) -> int:
    """Go on behind entries that were removed from streams of a type before we read them. Return how many were lost."""
    with streams.connect(settings) as client, warehouse.connect(settings) as connection:
        found = streams.names(settings)[event_type]
        return sum(_accept_gap(client, connection, event_type, stream, clock()) for stream in found)


def _accept_gap(
    client: redis.Redis, connection: duckdb.DuckDBPyConnection, event_type: str, stream: str, now: datetime
) -> int:
    stored = positions.position(connection, event_type, stream)
    if stored is None:
        return 0
    place, removed = StreamPosition.parse(stored), streams.state(client, stream).removed
    if removed <= place.entries:
        return 0
    connection.execute(
        f"UPDATE ops.position_{event_type} SET position = ?, version = version + 1, updated_at = ? WHERE source = ?",
        [StreamPosition(place.entry_id, removed).text(), now.replace(tzinfo=None), stream],
    )
    return removed - place.entries


def waiting(settings: Settings) -> dict[str, int]:
    """Return how many stream entries are not read yet, by event type."""
    with streams.connect(settings) as client:
        found = streams.names(settings)
        return {event_type: sum(int(client.xlen(name)) for name in shards) for event_type, shards in found.items()}


def wait_for_events(settings: Settings, *, seconds: float, poll: float = 0.2) -> dict[str, int]:
    """Return the number of waiting entries as soon as there are any, or after `seconds`."""
    deadline = threading.Event()
    timer = threading.Timer(seconds, deadline.set)
    timer.daemon = True
    timer.start()
    try:
        while True:
            found = waiting(settings)
            if any(found.values()) or deadline.is_set():
                return found
            deadline.wait(poll)
    finally:
        timer.cancel()

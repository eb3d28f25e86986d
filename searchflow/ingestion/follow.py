"""Following a source: micro-batches until told to stop, through restarts of the servers.

Nothing is kept in memory that the warehouse does not know: after any failure a new worker goes on behind the stored
position, with new connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path

import duckdb

from searchflow import streams, warehouse
from searchflow.backoff import Backoff
from searchflow.errors import (
    BrokenFileError,
    FencedError,
    SearchFlowError,
    ServiceError,
    StorageError,
)
from searchflow.ingestion import positions
from searchflow.ingestion.commit import Counts
from searchflow.ingestion.file_source import FileSource, FileState, event_files
from searchflow.ingestion.pace import BatchPace, Paced
from searchflow.ingestion.stream_source import StreamSource
from searchflow.ingestion.worker import THREADS, Clock, Draining, IngestionResult, OnCommit, drain, utc_now
from searchflow.passing import FROM_SERVERS, is_passing
from searchflow.services import postgres, process, valkey
from searchflow.settings import Settings

AGAIN = Backoff(attempts=5, first=0.5, doubling=True, longest=10.0)
"""Attempts after failures. So many failures in a row, with both servers there and no commit in between, are no
accident. A server that is away is looked for at least every ten seconds.
"""
OnTrouble = Callable[[Exception], None]


def follow_stream(
    settings: Settings,
    event_type: str,
    *,
    stop: threading.Event,
    shard: int = 0,
    clock: Clock = utc_now,
    on_commit: OnCommit | None = None,
    on_trouble: OnTrouble | None = None,
) -> IngestionResult:
    """Keep one stream drained in micro-batches (by size or time) until `stop` is set. The current commit is then
    finished.

    Raises:
        SourceGapError, StorageError: a person must act; the message says how.
    """
    result, pace = IngestionResult(), pace_of(settings)

    def work() -> None:
        with streams.connect(settings) as client, warehouse.connect(settings, threads=THREADS) as connection:
            source = Paced(StreamSource(client, event_type, shard), pace, stop)
            drain(settings, connection, source, Draining(clock, result, pace.most, on_commit=on_commit, stop=stop))

    keep_working(settings, work, stop=stop, result=result, on_trouble=on_trouble)
    return result


def follow_shards(
    settings: Settings,
    event_type: str,
    shards: Sequence[int],
    *,
    stop: threading.Event,
    on_commit: OnCommit | None = None,
    on_trouble: OnTrouble | None = None,
) -> IngestionResult:
    """Follow several streams of one type, each in a thread.

    When one fails, the others go on until `stop` is set, and then its error is raised; `on_trouble` hears of it at
    once.
    """
    total = IngestionResult()
    with ThreadPoolExecutor(len(shards), thread_name_prefix=event_type) as threads:
        running = [
            threads.submit(
                copy_context().run,  # a thread has the name of the run that it belongs to
                follow_stream,
                settings,
                event_type,
                shard=shard,
                stop=stop,
                on_commit=on_commit,
                on_trouble=on_trouble,
            )
            for shard in shards
        ]
    for each in running:
        done = each.result()
        total.add(event_type, done.counts, commits=done.commits)
    return total


def pace_of(settings: Settings) -> BatchPace:
    """Return the micro-batches that the settings ask for. When far behind, they grow up to the size of a drain's
    batches.
    """
    return BatchPace(settings.follow_batch_events, settings.batch_events, settings.follow_batch_seconds)


def keep_working(
    settings: Settings,
    work: Callable[[], None],
    *,
    stop: threading.Event,
    result: IngestionResult,
    on_trouble: OnTrouble | None = None,
) -> None:
    """Call `work` until `stop` is set. Call it again when another worker was first, or when a server went away and is
    back.
    """
    failures, commits = 0, result.commits
    while not stop.is_set():
        try:
            work()
        except FencedError:
            pause = 0.1  # a user drained the same source by hand: go on from the position that is stored
        except StorageError:
            stop.set()  # other followers use the same disk: this is the end for all, and is reported once
            raise
        except (SearchFlowError, *FROM_SERVERS) as error:
            if process.out_of_room(settings):
                stop.set()
                raise process.disk_full(settings) from error
            if on_trouble is not None:
                on_trouble(error)
            if not is_passing(error):
                raise
            failures = 1 if result.commits > commits else failures + 1
            if failures >= AGAIN.attempts and _servers_answer(settings):
                raise
            commits = result.commits
            pause = AGAIN.wait(failures)
        else:
            continue
        stop.wait(pause)


def _servers_answer(settings: Settings) -> bool:
    try:
        valkey.check(settings)
        postgres.check(settings)
    except ServiceError:
        return False
    return True


class Folder:
    """The event files at a watched path. Each is read on from where it was left, with its handle kept open."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings, self._path = settings, path
        self._open: dict[Path, tuple[FileState, FileSource]] = {}

    def changed(self, connection: duckdb.DuckDBPyConnection) -> list[FileSource]:
        """Return files that are new, have grown or were replaced since they were last returned."""
        found = []
        for path in event_files(self._path):
            state = FileState.of(path)
            if state is None:  # it went away between the two looks
                continue
            before = self._open.get(path)
            if before is not None and before[0] == state:
                continue
            if before is not None and state.continues(before[0]):
                source = before[1]
            else:
                self._close(path)
                try:
                    source = FileSource(path, positions.positions(connection, FileSource.shard), following=True)
                except BrokenFileError:  # it cannot be opened now: the next look tries again
                    continue
            self._open[path] = (state, source)
            found.append(source)
        return found

    def _close(self, path: Path) -> None:
        known = self._open.pop(path, None)
        if known is not None:
            known[1].close()

    def close(self) -> None:
        """Close every file of the folder."""
        for path in list(self._open):
            self._close(path)


def follow_files(
    settings: Settings,
    path: Path,
    *,
    stop: threading.Event,
    clock: Clock = utc_now,
    on_commit: Callable[[str, Counts], None] | None = None,
    on_trouble: OnTrouble | None = None,
) -> IngestionResult:
    """Load what is at `path` (a file or a folder), and whatever is added to it, until `stop` is set.

    A last line without a newline is taken as unfinished: it waits for its end.
    """
    result = IngestionResult()
    how = Draining(clock, result, on_commit=on_commit, stop=stop)

    def note_broken(error: BrokenFileError) -> None:
        result.broken.append(str(error))
        if on_trouble is not None:
            on_trouble(error)

    def work() -> None:
        folder = Folder(settings, path)
        try:
            with warehouse.connect(settings, threads=THREADS) as connection:
                while not stop.is_set():
                    changed = folder.changed(connection)
                    load = positions.watermarks(connection) if changed else None
                    for source in changed:
                        try:
                            drain(settings, connection, source, replace(how, load=load))
                        except BrokenFileError as error:  # reported once; the file is read again when it changes
                            note_broken(error)
                    stop.wait(settings.follow_batch_seconds)
        finally:
            folder.close()

    keep_working(settings, work, stop=stop, result=result, on_trouble=on_trouble)
    result.files_loaded = sum(name.startswith("file:") for name in result.by_shard)
    return result

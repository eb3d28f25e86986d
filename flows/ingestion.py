"""Ingestion flow: events from the streams (or files) are in raw, each exactly once, and their counts add up.

Runs every five minutes and follows the streams until the next run takes over; on demand for files.
Shape: wait for new events -> each event type in parallel -> log metrics. While it runs, one artifact shows
backlog, rate and counts, and every few seconds a sample of them goes to `ops.ingestion_metrics`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows.live import Live
from flows.support import TAKE_OVER, is_retryable, stage, stopped_by_signals, table_artifact, utc_now
from searchflow import warehouse
from searchflow.errors import AccountingError, BrokenFileError, FencedError
from searchflow.event_types import EVENT_TYPES
from searchflow.ingestion import accounting, feeds, follow, worker
from searchflow.ingestion.commit import Counts
from searchflow.progress import progress
from searchflow.services import locks
from searchflow.settings import Settings, load_settings
from searchflow.streams import shard_name

PATIENCE = 25.0
"""The seconds that the commit under way has after SIGTERM. One that is cut off leaves nothing behind."""

# A commit is a transaction, so a retry continues where the last one ended.
with_retries: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_retryable,
    "cache_policy": NO_CACHE,
}


@task(**with_retries)
def wait_for_new_events(seconds: float = 0.0) -> dict[str, int]:
    """Return how many stream entries are waiting, by event type; wait up to `seconds` for the first."""
    found = worker.wait_for_events(load_settings(), seconds=seconds)
    get_run_logger().info("entries waiting: %s", found)
    return found


@task(**with_retries)
def ingest_events(
    event_type: str, shards: list[int], live: Live, stop: threading.Event | None = None
) -> worker.IngestionResult:
    """Ingest the streams of one event type into its raw table."""
    return _ingest(event_type, shards, live, stop)


STEPS = {
    name: ingest_events.with_options(
        name=each.task, description=f"Read the streams of {each.plural} into {each.raw_table}."
    )
    for name, each in EVENT_TYPES.items()
}
"""Event type -> the task that ingests it, under a name of its own in Prefect's runs."""


def _ingest(event_type: str, shards: list[int], live: Live, stop: threading.Event | None) -> worker.IngestionResult:
    """Drain the streams of a type one after the other, or follow them all until `stop` is set."""
    settings = load_settings()
    if stop is not None:
        return follow.follow_shards(
            settings, event_type, shards, stop=stop, on_commit=live.note, on_trouble=live.trouble_of(get_run_logger())
        )
    total = worker.IngestionResult()
    for shard in shards:
        try:
            done = worker.ingest_stream(settings, event_type, shard=shard, on_commit=live.note)
            total.add(event_type, done.counts, commits=done.commits)
        except FencedError:
            told = f"Another worker drains {shard_name(event_type, shard)}: the rest of it is left to that one."
            live.trouble_of(get_run_logger())(FencedError(told))
    return total


@task(**with_retries)
def follow_files(path: str, live: Live, stop: threading.Event) -> worker.IngestionResult:
    """Ingest event files at `path` into raw, and what is added to them, until `stop` is set."""
    trouble = live.trouble_of(get_run_logger())
    return follow.follow_files(load_settings(), Path(path), stop=stop, on_commit=live.note, on_trouble=trouble)


@task(**with_retries)
def ingest_files(path: str) -> worker.IngestionResult:
    """Ingest event files at `path` into raw; what was loaded before is not loaded again."""
    log = get_run_logger()
    with progress("ingesting files") as bar:

        def on_commit(source: str, counts: Counts) -> None:
            log.info("%s: %s", source, asdict(counts))
            bar.advance(counts.received)

        result = worker.ingest_files(load_settings(), Path(path), on_commit=on_commit)
    for broken in result.broken:
        log.error("%s", broken)
    return result


@task(**with_retries)
def ingest_feeds(path: str) -> worker.IngestionResult:
    """Ingest ad spend and user profiles at `path` into raw."""
    result, log = worker.IngestionResult(), get_run_logger()

    def on_file(name: str, counts: Counts) -> None:
        if counts.received:
            log.info("%s: %s", name, asdict(counts))

    def on_broken(error: BrokenFileError) -> None:
        log.error("%s", error)
        result.broken.append(str(error))

    counts = feeds.ingest_feeds(load_settings(), Path(path), now=utc_now(), on_file=on_file, on_broken=on_broken)
    result.add("feeds", counts, commits=0)
    return result


@task(cache_policy=NO_CACHE)
def log_metrics(result: worker.IngestionResult, seconds: float) -> dict[str, Any]:
    """Log counts by source, the rate, and the accounting identity over everything ever received.

    Raises:
        AccountingError: the identity does not hold.
    """
    with warehouse.connect(load_settings(), read_only=True) as connection:
        totals = accounting.accounting(connection)
    rows = [{"source": name, **asdict(counts)} for name, counts in result.by_shard.items()]
    rate = round(result.counts.received / seconds) if seconds else 0
    get_run_logger().info("%s events received at %s events/s; %s", result.counts.received, rate, totals.sentence())
    table_artifact("ingestion-counts", rows, f"Received {result.counts.received:,} ({rate:,}/s). {totals.sentence()}")
    if not totals.holds:
        raise AccountingError(f"The accounting identity does not hold: {totals.sentence()}. Run `searchflow status`.")
    return {**asdict(result.counts), "events_per_second": rate, "accounting": totals.as_dict()}


# A thread for each event type: while following, a task that waits for a thread would wait until the flow ends.
@flow(name="ingestion", task_runner=ThreadPoolTaskRunner(max_workers=len(EVENT_TYPES)))
def ingest(
    source: str = "redis",
    wait_seconds: float = 0.0,
    follow_seconds: float = 0.0,
    feeds_path: str | None = None,
    shard: int | None = None,
) -> dict[str, Any]:
    """Ingest from the streams (`source="redis"`, one shard or all) or from a file or folder (`source=PATH`). Return
    counts."""
    settings, started = load_settings(), time.monotonic()
    total = worker.IngestionResult()
    with stage(settings, "ingestion") as report:
        if source == "redis":
            total = _with_feeds(total, feeds_path or str(settings.feeds_dir))
            _from_streams(settings, total, wait_seconds, follow_seconds, shard)
        elif follow_seconds:
            _with_feeds(total, source)
            _watched(settings, total, source, follow_seconds)
        else:
            _from_path(total, Path(source))
        report.rows_in, report.rows_out = total.counts.received, total.counts.stored
        report.rejected = total.counts.dead_letters
        metrics = log_metrics(total, time.monotonic() - started)
    return {
        **metrics,
        "files_loaded": total.files_loaded,
        "files_known": total.files_known,
        "files_broken": total.broken,
        "commits": total.commits,
    }


def _from_streams(
    settings: Settings, total: worker.IngestionResult, wait: float, seconds: float, only: int | None
) -> None:
    wanted = range(settings.stream_shards) if only is None else [only]
    with _until(seconds) as stop, _claimed(settings, wanted, stop) as mine:
        if not any(mine.values()) or not (seconds or any(wait_for_new_events(wait).values())):
            return
        with progress("ingesting") as bar:
            live = Live(settings, bar)
            futures = {kind: STEPS[kind].submit(kind, shards, live, stop) for kind, shards in mine.items() if shards}
            live.watch(list(futures.values()))
            for event_type, future in futures.items():
                done = future.result()
                total.add(event_type, done.counts, commits=done.commits)


def _watched(settings: Settings, total: worker.IngestionResult, path: str, seconds: float) -> None:
    with progress("ingesting files") as bar, _until(seconds) as stop:
        live = Live(settings, bar)
        future = follow_files.submit(path, live, stop)
        live.watch([future])
        done = future.result()
    for name, counts in done.by_shard.items():
        total.add(name, counts, commits=0)
    total.commits += done.commits
    total.files_loaded = done.files_loaded
    total.broken += done.broken


@contextmanager
def _claimed(settings: Settings, wanted: Sequence[int], stop: threading.Event | None) -> Iterator[dict[str, list[int]]]:
    """Yield the shards of each type that this run has claimed.

    There is one follower per stream, on whatever machine; a single drain (without `stop`) may run beside it. A new
    follower begins before the one before it ends, and waits a while for its streams: so they are hardly ever without one.
    """
    if stop is None:
        yield {event_type: list(wanted) for event_type in EVENT_TYPES}
        return
    patience, some = time.monotonic() + TAKE_OVER, False
    while True:
        with ExitStack() as held:
            mine: dict[str, list[int]] = {event_type: [] for event_type in EVENT_TYPES}
            for event_type in EVENT_TYPES:
                for shard in wanted:
                    lock = locks.try_advisory_lock(settings, locks.follower(shard_name(event_type, shard)))
                    if held.enter_context(lock):
                        mine[event_type].append(shard)
            enough = some or all(len(shards) == len(wanted) for shards in mine.values())
            some = any(mine.values())
            # Some and not all: a run that ends lets go of one after the other. The second time another run keeps them.
            if (some and enough) or stop.is_set() or time.monotonic() >= patience:
                if not some:
                    get_run_logger().info("another run follows the streams: nothing to do here")
                yield mine
                return
        stop.wait(0.5)


@contextmanager
def _until(follow_seconds: float) -> Iterator[threading.Event | None]:
    """Yield None to drain once; else an event that is set after `follow_seconds`, or by SIGTERM and Ctrl-C: the current
    commit is finished first."""
    if not follow_seconds:
        yield None
        return
    with stopped_by_signals(PATIENCE) as stop:
        timer = threading.Timer(min(follow_seconds, threading.TIMEOUT_MAX), stop.set)
        timer.daemon = True
        timer.start()
        try:
            yield stop
        finally:
            timer.cancel()
            stop.set()


def _from_path(total: worker.IngestionResult, path: Path) -> None:
    feed_files = feeds.feed_files(path)
    if not (path.is_file() and feed_files):
        done = ingest_files(str(path))
        for name, counts in done.by_shard.items():
            total.add(name, counts, commits=0)
        total.commits += done.commits
        total.files_loaded, total.files_known = done.files_loaded, done.files_known
        total.broken += done.broken
    if feed_files:
        _with_feeds(total, str(path))


def _with_feeds(total: worker.IngestionResult, path: str) -> worker.IngestionResult:
    if feeds.feed_files(Path(path)):
        done = ingest_feeds(path)
        total.broken += done.broken
        if done.counts.received:
            total.add("feeds", done.counts)
    return total

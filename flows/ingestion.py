"""Events from the streams (or files) are in raw, each exactly once, and their counts add up.

Runs every five minutes and follows the streams until the next run takes over; on demand for files.
Shape: wait for new events -> searches, clicks, conversions in parallel -> log metrics.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows.support import is_retryable, stage, stopped_by_signals, table_artifact, utc_now
from searchflow import warehouse
from searchflow.errors import AccountingError, FencedError
from searchflow.ingestion import accounting, feeds, worker
from searchflow.ingestion.commit import Counts
from searchflow.progress import Bar, progress
from searchflow.services import postgres
from searchflow.settings import Settings, load_settings
from searchflow.streams import EVENT_TYPES

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
    """Stream entries waiting, by event type; waits up to `seconds` for the first."""
    found = worker.wait_for_events(load_settings(), seconds=seconds)
    get_run_logger().info("entries waiting: %s", found)
    return found


@task(**with_retries)
def ingest_searches(stop: threading.Event | None = None, bar: Bar | None = None) -> worker.IngestionResult:
    """The stream of searches into raw.search_events."""
    return _ingest("search", stop, bar)


@task(**with_retries)
def ingest_clicks(stop: threading.Event | None = None, bar: Bar | None = None) -> worker.IngestionResult:
    """The stream of clicks into raw.click_events."""
    return _ingest("click", stop, bar)


@task(**with_retries)
def ingest_conversions(stop: threading.Event | None = None, bar: Bar | None = None) -> worker.IngestionResult:
    """The stream of conversions into raw.conversion_events."""
    return _ingest("conversion", stop, bar)


def _ingest(event_type: str, stop: threading.Event | None, bar: Bar | None) -> worker.IngestionResult:
    """Drain the stream, or follow it until `stop` is set."""
    settings, log = load_settings(), get_run_logger()

    def on_commit(source: str, counts: Counts) -> None:
        log.info("%s: %s", source, asdict(counts))
        if bar is not None:
            bar.advance(counts.received)

    if stop is None:
        try:
            return worker.ingest_stream(settings, event_type, on_commit=on_commit)
        except FencedError:
            log.warning("another worker is draining the stream of %s events: it is left to that one", event_type)
            return worker.IngestionResult()
    return worker.follow_stream(settings, event_type, stop=stop, on_commit=on_commit)


@task(**with_retries)
def ingest_files(path: str) -> worker.IngestionResult:
    """Event files at `path` into raw; what was loaded before is not loaded again."""
    log = get_run_logger()
    with progress("ingesting files") as bar:

        def on_commit(source: str, counts: Counts) -> None:
            log.info("%s: %s", source, asdict(counts))
            bar.advance(counts.received)

        return worker.ingest_files(load_settings(), Path(path), on_commit=on_commit)


@task(**with_retries)
def ingest_feeds(path: str) -> worker.IngestionResult:
    """Ad spend and user profiles at `path` into raw."""
    result, log = worker.IngestionResult(), get_run_logger()

    def on_file(name: str, counts: Counts) -> None:
        if counts.received:
            log.info("%s: %s", name, asdict(counts))

    counts = feeds.ingest_feeds(load_settings(), Path(path), now=utc_now(), on_file=on_file)
    result.add("feeds", counts, commits=0)
    return result


@task(cache_policy=NO_CACHE)
def log_metrics(result: worker.IngestionResult, seconds: float) -> dict[str, Any]:
    """Counts by source, the rate, and the accounting identity over everything ever received.

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


@flow(name="ingestion", task_runner=ThreadPoolTaskRunner(max_workers=3))
def ingest(
    source: str = "redis", wait_seconds: float = 0.0, follow_seconds: float = 0.0, feeds_path: str | None = None
) -> dict[str, Any]:
    """Ingest from the streams (`source="redis"`) or from a file or folder (`source=PATH`). Returns counts."""
    settings, started = load_settings(), time.monotonic()
    total = worker.IngestionResult()
    with stage(settings, "ingestion") as report:
        if source == "redis":
            total = _with_feeds(total, feeds_path or str(settings.feeds_dir))
            with _alone(settings, follow_seconds) as alone:
                if alone:
                    _from_streams(settings, total, wait_seconds, follow_seconds)
        else:
            _from_path(total, Path(source))
        report.rows_in, report.rows_out = total.counts.received, total.counts.stored
        report.rejected = total.counts.dead_letters
        metrics = log_metrics(total, time.monotonic() - started)
    return {**metrics, "files_loaded": total.files_loaded, "files_known": total.files_known, "commits": total.commits}


def _from_streams(settings: Settings, total: worker.IngestionResult, wait: float, follow: float) -> None:
    waiting = wait_for_new_events(wait)
    if not follow and not any(waiting.values()):
        return
    with progress("ingesting") as bar, _until(follow) as stop:
        futures = [step.submit(stop, bar) for step in (ingest_searches, ingest_clicks, ingest_conversions)]
        for event_type, future in zip(EVENT_TYPES, futures, strict=True):
            done = future.result()
            total.add(event_type, done.counts, commits=done.commits)


@contextmanager
def _alone(settings: Settings, follow_seconds: float) -> Iterator[bool]:
    """One follower at a time, on whatever machine; a single drain may run beside it."""
    if not follow_seconds:
        yield True
        return
    with postgres.try_advisory_lock(settings, "follow streams") as alone:
        if not alone:
            get_run_logger().info("another run follows the streams: nothing to do here")
        yield alone


@contextmanager
def _until(follow_seconds: float) -> Iterator[threading.Event | None]:
    """None to drain once; else an event that is set after `follow_seconds`, or by SIGTERM and Ctrl-C: the current
    commit is finished first."""
    if not follow_seconds:
        yield None
        return
    with stopped_by_signals() as stop:
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
    if feed_files:
        _with_feeds(total, str(path))


def _with_feeds(total: worker.IngestionResult, path: str) -> worker.IngestionResult:
    if feeds.feed_files(Path(path)):
        done = ingest_feeds(path)
        if done.counts.received:
            total.add("feeds", done.counts)
    return total

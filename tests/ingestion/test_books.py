"""The books are read at one moment: beside running ingestion they hold for every reader, however often it looks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from searchflow import lake_calls, status, streams, warehouse
from searchflow.ingestion import follow
from searchflow.ingestion.accounting import accounting
from searchflow.settings import Settings, load_settings
from tests import foreign

pytestmark = pytest.mark.integration
CALLS, SECONDS, LEAST_COMMITS = 250, 90, 10


@contextmanager
def busy(settings: Settings, rate: int = 1000) -> Iterator[None]:
    """So many searches a second are published and ingested, some of them refused, until the block ends."""
    stop, numbers = threading.Event(), itertools.count()
    quick = load_settings(
        home=settings.home,
        redis_url=settings.redis_url,
        postgres_url=settings.postgres_url,
        postgres_prefix=settings.postgres_prefix,
        follow_batch_seconds=0.05,
    )

    def publish() -> None:
        with streams.connect(settings) as client:
            while not stop.wait(0.1):
                lines = [foreign.line(**foreign.search(next(numbers))) for _ in range(rate // 10)]
                streams.publish(client, "search", [*lines, b"rubbish"], batch=100, codec="zstd")

    threads = [
        threading.Thread(target=publish),
        threading.Thread(target=follow.follow_stream, args=(quick, "search"), kwargs={"stop": stop}),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def commits(settings: Settings) -> int:
    with warehouse.connect(settings, read_only=True) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM ops.ingestion_batches").fetchall()
    return int(count)


def test_the_books_hold_at_every_call_beside_ingestion(fresh_platform: Settings) -> None:
    wrong, received = [], set()
    with busy(fresh_platform), warehouse.connect(fresh_platform, read_only=True) as connection:
        deadline = time.monotonic() + SECONDS
        for call in range(1, CALLS + 1):
            found = accounting(connection)
            received.add(found.received)
            if not found.holds:
                wrong.append(found)
            if call % 50 == 0:  # rows leave the catalog for a file between two calls
                with warehouse.connect(fresh_platform) as lake, suppress(lake_calls.LostRaceError):
                    lake_calls.call(lake, lake_calls.FLUSH, schema_name="raw", table_name="search_events")
            if time.monotonic() > deadline:
                break
    assert len(received) > LEAST_COMMITS
    assert wrong == []


def test_status_is_well_at_every_look_beside_ingestion(fresh_platform: Settings) -> None:
    """What the service level `nothing_lost` judges is what the books show."""
    before, unwell = commits(fresh_platform), []
    with busy(fresh_platform):
        for _ in range(5):
            state = status.collect(fresh_platform, now=datetime.now(UTC))
            lost = [each for each in state.levels if each.level == "nothing_lost" and each.state == "broken"]
            if lost or not state.healthy:
                unwell.append((state.accounting, state.services, lost))
    assert unwell == []
    assert commits(fresh_platform) > before

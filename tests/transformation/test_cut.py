"""A transformation reads what was committed up to one moment, however busily ingestion goes on beside it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest

from searchflow import streams, warehouse
from searchflow.ingestion import cut, worker
from searchflow.services import postgres
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def clock() -> datetime:
    return datetime.now(UTC)


def test_a_cut_waits_for_commits_under_way_and_later_ones_are_stamped_later(platform: Settings) -> None:
    begun, finish = threading.Event(), threading.Event()
    stamps: dict[str, datetime] = {}

    def slow_commit() -> None:
        with cut.CommitGate(platform) as gate, gate.commit():
            stamps["commit"] = clock()
            begun.set()
            finish.wait(30)
            stamps["visible"] = clock()

    committing = threading.Thread(target=slow_commit)
    committing.start()
    assert begun.wait(30)
    cutting = threading.Thread(target=lambda: stamps.update(cut=cut.take(platform, clock)))
    cutting.start()
    cutting.join(0.5)
    assert cutting.is_alive()  # a commit stamped before the cut is not visible yet
    finish.set()
    cutting.join(30)
    committing.join(30)
    with cut.CommitGate(platform) as gate, gate.commit():
        stamps["next"] = clock()
    assert stamps["commit"] < stamps["visible"] < stamps["cut"] < stamps["next"]


def test_commits_do_not_wait_for_each_other(platform: Settings) -> None:
    with cut.CommitGate(platform) as one, cut.CommitGate(platform) as two, one.commit(), two.commit():
        pass


def test_a_clock_that_steps_back_loses_nothing(fresh_platform: Settings) -> None:
    settings, now = fresh_platform, foreign.NOW
    stream = streams.EVENT_STREAMS["search"]

    def ingest(number: int, at: datetime, **changes: Any) -> datetime:
        with streams.connect(settings) as client:
            client.xadd(stream, {"data": foreign.line(**foreign.search(number, **changes))})
        assert worker.ingest_stream(settings, "search", clock=lambda: at).counts.stored == 1
        with warehouse.connect(settings, read_only=True) as connection:
            [(row, batch)] = connection.execute(
                "SELECT e.ingested_at, b.committed_at FROM raw.search_events AS e JOIN ops.ingestion_batches AS b "
                "USING (batch_id) ORDER BY e.event_id DESC LIMIT 1"
            ).fetchall()
        assert row == batch
        return cast(datetime, row).replace(tzinfo=UTC)

    assert ingest(1, now) == now
    first = cut.take(settings, lambda: now + timedelta(minutes=1))
    assert first == now + timedelta(minutes=1)
    back = now - timedelta(hours=1)
    moment = (now - timedelta(minutes=5)).isoformat()  # by a clock that is right; by ours an hour ahead
    assert ingest(2, back, timestamp=moment) == first + timedelta(microseconds=1)
    second = cut.take(settings, lambda: back)
    assert second >= first + timedelta(microseconds=1)
    assert ingest(3, back) > second
    assert ingest(4, now + timedelta(hours=1)) == now + timedelta(hours=1)


def test_the_newest_moment_is_taken_from_the_lake_of_an_older_home(fresh_platform: Settings) -> None:
    settings = fresh_platform
    with streams.connect(settings) as client:
        client.xadd(streams.EVENT_STREAMS["search"], {"data": foreign.line(**foreign.search(1))})
    worker.ingest_stream(settings, "search", clock=lambda: foreign.NOW)
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as ledger:
        ledger.execute("DROP TABLE monitoring.moments")
    cut.prepare(settings)
    assert cut.take(settings, lambda: foreign.NOW - timedelta(days=1)) == foreign.NOW

"""Several streams a type: each has its position, workers take turns to commit, duplicates are found across them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from searchflow import status, streams, warehouse
from searchflow.errors import SourceGapError
from searchflow.ingestion import meter, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts
from searchflow.ingestion.positions import positions
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration
SHARDS = 3


@pytest.fixture
def sharded(fresh_platform: Settings) -> Settings:
    return fresh_platform.model_copy(update={"stream_shards": SHARDS})


def line(number: int) -> bytes:
    return foreign.line(**foreign.search(number))


def ingest(settings: Settings, shard: int) -> Counts:
    done = worker.ingest_stream(settings, "search", shard=shard, clock=lambda: foreign.NOW, batch_events=400)
    return done.counts


def test_parallel_workers_on_shards_store_each_event_once(sharded: Settings) -> None:
    with streams.connect(sharded) as client:
        streams.publish(client, "search", [line(number) for number in range(6_000)], batch=50, shards=SHARDS)
        lengths = [int(client.xlen(name)) for name in streams.names(sharded)["search"]]
        # the same events in another shard: only one of two workers may find them new
        streams.publish(client, "search", [line(number) for number in range(1_000)], batch=50, shards=SHARDS)
    assert lengths == [40, 40, 40]
    assert worker.waiting(sharded)["search"] == 140
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: outcomes.append(ingest(sharded, n))) for n in range(SHARDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts.stored for counts in outcomes) == 6_000
    assert sum(counts.duplicates for counts in outcomes) == 1_000
    with warehouse.connect(sharded, read_only=True) as connection:
        assert accounting(connection).holds
        assert {key for key, _ in positions(connection, "search")} == set(streams.names(sharded)["search"])
        found = connection.execute("SELECT count(*), count(DISTINCT event_id) FROM raw.search_events").fetchall()
    assert found == [(6_000, 6_000)]


def test_more_shards_later_leave_nothing_behind_and_a_gap_is_one_of_a_shard(sharded: Settings) -> None:
    one = sharded.model_copy(update={"stream_shards": 1})
    with streams.connect(sharded) as client:
        streams.publish(client, "search", [line(1)])
        assert ingest(one, 0) == Counts(received=1, stored=1)
        streams.publish(client, "search", [line(2)])
        client.xadd(streams.shard_name("search", 2), {"data": line(3)})
        assert [ingest(sharded, shard).stored for shard in range(SHARDS)] == [1, 0, 1]
        for number in range(4, 8):
            client.xadd(streams.shard_name("search", 2), {"data": line(number)})
        client.xtrim(streams.shard_name("search", 2), maxlen=1, approximate=False)
    with pytest.raises(SourceGapError, match="3 entries of the stream searchflow:events:search:2 "):
        ingest(sharded, 2)
    assert ingest(sharded, 0) == Counts()  # the others go on
    assert worker.accept_gap(sharded, "search", clock=lambda: foreign.NOW) == 3
    assert ingest(sharded, 2).stored == 1


def test_backlog_lag_and_rates_are_kept_in_ops_and_shown(sharded: Settings) -> None:
    stream = streams.shard_name("search", 1)
    with streams.connect(sharded) as client:
        client.xadd(stream, {"data": line(1)})
    now = worker.utc_now()
    reading = meter.Meter(now)
    backlogs = meter.backlogs(sharded, now)
    assert (backlogs[stream].entries, backlogs[streams.shard_name("search", 0)].entries) == (1, 0)
    meter.keep(sharded, reading.sample(now, backlogs))
    worker.ingest_stream(sharded, "search", shard=1, on_commit=reading.note)  # the clock is the wall's: it is old news
    later = worker.utc_now()
    meter.keep(sharded, reading.sample(later, meter.backlogs(sharded, later)))
    assert reading.sample(later, meter.backlogs(sharded, later)) == []  # idle: no rows
    with warehouse.connect(sharded, read_only=True) as connection:
        rows = connection.execute(
            "SELECT source, received, backlog FROM ops.ingestion_metrics ORDER BY measured_at"
        ).fetchall()
    assert rows == [(stream, 0, 1), (stream, 1, 0)]
    shown = status.collect(sharded, now=later)
    assert shown.lag["search"] == {"entries": 0, "oldest_seconds": 0.0}
    assert [(each["source"], each["received"]) for each in shown.ingestion] == [(stream, 1)]
    assert meter.forget(sharded, later) == 0
    assert meter.forget(sharded, later + meter.KEEP * 2) == 2

"""A foreign producer's entries come into raw, each exactly once, whatever form they have."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

import psycopg
import pytest
import redis

from searchflow import streams, warehouse
from searchflow.errors import FencedError, SearchFlowError, SourceGapError
from searchflow.events import MAX_EVENT_BYTES
from searchflow.ingestion import worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts, commit, in_transaction
from searchflow.ingestion.positions import position
from searchflow.ingestion.source import SourceBatch
from searchflow.ingestion.stream_source import StreamSource
from searchflow.services import postgres
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def clock() -> datetime:
    return foreign.NOW


def ingest(settings: Settings, event_type: str = "search") -> Counts:
    return worker.ingest_stream(settings, event_type, clock=clock).counts


def fetch(settings: Settings, sql: str) -> list[Any]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def identity_holds(settings: Settings) -> bool:
    with warehouse.connect(settings, read_only=True) as connection:
        return accounting(connection).holds


@pytest.fixture
def producer(fresh_platform: Settings) -> redis.Redis:
    """A plain client, as any program would have."""
    return streams.connect(fresh_platform)


def test_single_batched_and_compressed_entries_are_one_to_the_reader(
    fresh_platform: Settings, producer: redis.Redis
) -> None:
    stream = streams.EVENT_STREAMS["search"]
    lines = [foreign.line(**foreign.search(number)) for number in range(1, 8)]
    producer.xadd(stream, {"data": lines[0]})
    producer.xadd(stream, {"data": b"\n".join(lines[1:4]) + b"\n"})
    producer.xadd(stream, streams.encode(lines[4:], "zstd"))  # type: ignore[arg-type]
    assert ingest(fresh_platform) == Counts(received=7, stored=7)
    stored = fetch(
        fresh_platform, "SELECT event_id, payload, source, source_position FROM raw.search_events ORDER BY 1"
    )
    assert [row[1].encode() for row in stored] == lines  # byte for byte
    assert {row[2] for row in stored} == {stream}
    assert stored[2][3].endswith(":2")
    assert int(producer.xlen(stream)) == 0  # trimmed behind the committed position
    assert ingest(fresh_platform) == Counts()


def test_exact_duplicates_are_counted_and_conflicting_ones_become_letters(
    fresh_platform: Settings, producer: redis.Redis
) -> None:
    stream = streams.EVENT_STREAMS["search"]
    original = foreign.search(1)
    reordered = dict(reversed(original.items()))
    other = {**original, "query": "flights to Tokyo"}
    producer.xadd(
        stream, {"data": b"\n".join([foreign.line(**original), foreign.line(**reordered), foreign.line(**other)])}
    )
    assert ingest(fresh_platform) == Counts(received=3, stored=1, duplicates=1, dead_letters=1)
    # again, in a later batch: compared with what is stored
    producer.xadd(stream, {"data": b"\n".join([foreign.line(**original), foreign.line(**other)])})
    assert ingest(fresh_platform) == Counts(received=2, stored=0, duplicates=1, dead_letters=1)
    assert fetch(fresh_platform, "SELECT count(*), count(DISTINCT event_id) FROM raw.search_events") == [(1, 1)]
    assert fetch(fresh_platform, "SELECT DISTINCT reason_code FROM raw.dead_letters") == [("conflicting_duplicate",)]
    assert identity_holds(fresh_platform)


def test_every_reason_of_the_contract_keeps_the_bytes_up_to_the_largest_event(
    fresh_platform: Settings, producer: redis.Redis
) -> None:
    refused = foreign.refused()
    by_type: dict[str, list[bytes]] = {"search": [], "click": [], "conversion": []}
    for lines in refused.values():
        for line in lines:
            kind = next(
                (name for name in ("click", "conversion") if f'"event_type": "{name}"'.encode() in line), "search"
            )
            by_type[kind].append(line)
    by_type["search"] += [foreign.line(**foreign.search(1)), foreign.line(**{**foreign.search(1), "page": 2})]
    for kind, lines in by_type.items():
        for line in lines:
            producer.xadd(streams.EVENT_STREAMS[kind], {"data": line})
        ingest(fresh_platform, kind)
    letters = fetch(fresh_platform, "SELECT reason_code, raw_payload, reason, status FROM raw.dead_letters")
    assert {row[0] for row in letters} == set(refused) | {"conflicting_duplicate"}
    for code, lines in refused.items():
        kept = sorted(line[:MAX_EVENT_BYTES] for line in lines)
        assert sorted(bytes(row[1]) for row in letters if row[0] == code) == kept, code
    assert all(row[2] and row[3] == "open" for row in letters)
    assert identity_holds(fresh_platform)


def test_an_entry_that_is_no_batch_of_events_is_one_letter(fresh_platform: Settings, producer: redis.Redis) -> None:
    stream = streams.EVENT_STREAMS["click"]
    producer.xadd(stream, {"payload": b"{}"})
    producer.xadd(stream, {"data": b"not zstd", "codec": "zstd"})
    producer.xadd(stream, {"data": b"{}", "codec": "lz4"})
    producer.xadd(stream, {"data": foreign.line(**foreign.search(1))})  # a search among the clicks
    assert ingest(fresh_platform, "click") == Counts(received=4, dead_letters=4)
    assert identity_holds(fresh_platform)


def test_a_late_event_is_stored_counted_and_its_day_is_noted(fresh_platform: Settings, producer: redis.Redis) -> None:
    stream = streams.EVENT_STREAMS["search"]
    producer.xadd(stream, {"data": foreign.line(**foreign.search(1))})
    ingest(fresh_platform)
    producer.xadd(stream, {"data": foreign.line(**foreign.search(2, timestamp="2026-05-17T08:00:00Z"))})
    assert ingest(fresh_platform) == Counts(received=1, stored=1, late=1)
    days = fetch(fresh_platform, "SELECT touched_days FROM ops.ingestion_batches WHERE late = 1")
    assert [[day.isoformat() for day in row[0]] for row in days] == [["2026-05-17"]]


def test_a_zombie_worker_is_fenced_and_writes_nothing(fresh_platform: Settings, producer: redis.Redis) -> None:
    stream = streams.EVENT_STREAMS["search"]
    producer.xadd(stream, {"data": foreign.line(**foreign.search(1))})
    source = StreamSource(producer, "search", trim=False)
    limits = worker.limits_of(fresh_platform)
    with warehouse.connect(fresh_platform) as zombie, warehouse.connect(fresh_platform) as successor:
        batch = source.read(None, limit=100)
        assert batch is not None
        commit(successor, source, batch, after=None, now=foreign.NOW, limits=limits)
        with pytest.raises(FencedError, match="Another worker moved"):
            commit(zombie, source, batch, after=None, now=foreign.NOW, limits=limits)
        assert position(zombie, "search", stream) == batch.position
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.search_events") == [(1,)]
    assert identity_holds(fresh_platform)


def test_two_workers_on_one_shard_store_each_event_once(fresh_platform: Settings, producer: redis.Redis) -> None:
    for first in range(0, 4_000, 100):
        lines = [foreign.line(**foreign.search(number)) for number in range(first, first + 100)]
        producer.xadd(streams.EVENT_STREAMS["search"], streams.encode(lines, None))  # type: ignore[arg-type]
    outcomes: list[object] = []

    def work() -> None:
        try:
            outcomes.append(worker.ingest_stream(fresh_platform, "search", clock=clock, batch_events=500).counts)
        except FencedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ingest(fresh_platform)  # what a fenced worker left
    assert len(outcomes) == 2
    assert fetch(fresh_platform, "SELECT count(*), count(DISTINCT event_id) FROM raw.search_events") == [(4_000, 4_000)]
    assert identity_holds(fresh_platform)


class Overtaken(StreamSource):
    """A source whose entries another worker takes, commits and removes right before the first read."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        super().__init__(client, "search")
        self._settings, self._reads = settings, 0

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        self._reads += 1
        if self._reads == 1:
            ingest(self._settings)
            self.client.xadd(self.name, {"data": foreign.line(**foreign.search(9))})
        return super().read(after, limit=limit, wait_seconds=wait_seconds)


def test_the_loser_of_a_race_does_not_say_that_entries_were_removed(
    fresh_platform: Settings, producer: redis.Redis
) -> None:
    stream = streams.EVENT_STREAMS["search"]
    producer.xadd(stream, {"data": foreign.line(**foreign.search(1))})
    ingest(fresh_platform)
    for number in range(2, 6):
        producer.xadd(stream, {"data": foreign.line(**foreign.search(number))})
    with warehouse.connect(fresh_platform) as connection, pytest.raises(FencedError, match="Another worker moved"):
        worker.drain(
            fresh_platform,
            connection,
            Overtaken(fresh_platform, producer),
            worker.Draining(clock, worker.IngestionResult()),
        )
    assert ingest(fresh_platform) == Counts(received=1, stored=1)


def test_a_commit_that_loses_its_catalog_says_so(fresh_platform: Settings, producer: redis.Redis) -> None:
    with warehouse.connect(fresh_platform) as connection:

        def write() -> None:
            connection.execute("INSERT INTO ops.position_search VALUES ('x', '', 0, '', NULL, NULL)")
            with psycopg.connect(postgres.conninfo(fresh_platform, "catalog"), autocommit=True) as killer:
                killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            connection.execute("SELECT count(*) FROM ops.position_click").fetchall()
            connection.execute("SELECT count(*) FROM raw.search_events").fetchall()

        with pytest.raises(SearchFlowError, match="The commit of a batch failed") as failed:
            in_transaction(connection, write)
    assert "ROLLBACK" not in str(failed.value).upper()


def test_a_stream_trimmed_behind_our_back_stops_with_the_gap(fresh_platform: Settings, producer: redis.Redis) -> None:
    stream = streams.EVENT_STREAMS["search"]
    producer.xadd(stream, {"data": foreign.line(**foreign.search(1))})
    ingest(fresh_platform)
    for number in range(2, 6):
        producer.xadd(stream, {"data": foreign.line(**foreign.search(number))})
    producer.xtrim(stream, maxlen=2, approximate=False)
    with pytest.raises(SourceGapError, match="--accept-gap search"):
        ingest(fresh_platform)
    assert worker.accept_gap(fresh_platform, "search", clock=clock) == 2
    assert ingest(fresh_platform) == Counts(received=2, stored=2)


def test_hostile_text_stays_text(fresh_platform: Settings, producer: redis.Redis) -> None:
    hostile = "'; DROP TABLE raw.search_events; -- <script>alert(1)</script> \x1b[31m =cmd|' /C calc'!A0"
    producer.xadd(
        streams.EVENT_STREAMS["search"], {"data": foreign.line(**foreign.search(1, query=hostile, user_id=hostile))}
    )
    assert ingest(fresh_platform) == Counts(received=1, stored=1)
    [(user_id, payload)] = fetch(fresh_platform, "SELECT user_id, payload FROM raw.search_events")
    assert user_id == hostile
    assert json.loads(payload)["query"] == hostile

"""A minute of everything at once: a live publisher, ingestion, models, maintenance and readers. No error, no wrong count.

Readers look at rows and positions in one snapshot, again and again: they must fit together and never go back. Afterwards
what is stored is compared with what was sent, by id, and the models with what is stored.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from searchflow import maintenance, streams, transformation, warehouse
from searchflow.ingestion import cut, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.stream_source import StreamPosition
from searchflow.settings import Settings
from searchflow.transformation import project
from tests import foreign
from tests.chaos.test_servers_killed import end, started, until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]

SECONDS, AT_MOST = 60.0, 900.0
KEPT = timedelta(seconds=20)
"""Maintenance deletes for good what is older: long before the minute is over."""
MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "search": foreign.search,
    "click": foreign.click,
    "conversion": foreign.conversion,
}


@dataclass
class Sent:
    """What was published, by event type: ids, lines, exact repeats; and lines that must become letters."""

    ids: dict[str, set[str]] = field(default_factory=lambda: {event_type: set() for event_type in MAKERS})
    letters: list[bytes] = field(default_factory=list)
    repeats: int = 0
    lines: int = 0


def publish(settings: Settings, sent: Sent, draw: random.Random) -> None:
    """One small or large batch a type; some events are of yesterday, one line is repeated, one is rubbish."""
    with streams.connect(settings) as client:
        for event_type, make in MAKERS.items():
            count = draw.choice((5, 20, 20, 400)) if event_type == "search" else draw.randint(1, 15)
            lines = [_event(make, sent.ids[event_type], draw) for _ in range(count)]
            again, rubbish = draw.sample(lines, 1), b"rubbish %d" % draw.getrandbits(32)
            sent.repeats, sent.lines = sent.repeats + 1, sent.lines + count + 2
            sent.letters.append(rubbish)
            streams.publish(client, event_type, [*lines, *again, rubbish], batch=100, codec="zstd")


def keep_publishing(settings: Settings, sent: Sent, draw: random.Random, stop: threading.Event) -> None:
    """Three times a second."""
    while not stop.wait(0.3):
        publish(settings, sent, draw)


def _event(make: Callable[..., dict[str, Any]], ids: set[str], draw: random.Random) -> bytes:
    event_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    ids.add(event_id)
    ago = timedelta(seconds=draw.uniform(0, 60), days=draw.random() < 0.1)
    session = f"session-{draw.randrange(10_000)}"
    return foreign.line(**make(event_id=event_id, timestamp=(datetime.now(UTC) - ago).isoformat(), session_id=session))


def tidy(settings: Settings, done: list[maintenance.Upkeep], stop: threading.Event) -> None:
    """Maintenance, again and again."""
    while not stop.wait(3.0):
        done.append(maintenance.run(settings, now=datetime.now(UTC)))


SEEN = " UNION ALL ".join(
    f"""
    SELECT '{event_type}', (SELECT count(*) FROM raw.{event_type}_events), coalesce(sum(stored), 0),
           (SELECT count(*) FROM raw.dead_letters WHERE source LIKE '%{event_type}'), coalesce(sum(dead_letters), 0),
           count(*), (SELECT max(version) FROM ops.position_{event_type} WHERE source <> '(guard)'),
           coalesce(sum(received) - sum(stored) - sum(duplicates) - sum(dead_letters), 0),
           (SELECT max(position) FROM ops.position_{event_type} WHERE source <> '(guard)')
    FROM ops.ingestion_batches WHERE event_type = '{event_type}'
    """
    for event_type in MAKERS
)
"""Of each event type in one snapshot: rows and their count, letters and theirs, commits by both tables, position."""


def read(settings: Settings, stop: threading.Event) -> int:
    """Look at one snapshot after the other; returns how many there were."""
    looks, before = 0, dict[str, tuple[int, ...]]()
    with warehouse.connect(settings, read_only=True) as connection:
        while not stop.is_set():
            for event_type, *counts, position in connection.execute(SEEN).fetchall():
                rows, stored, letters, refused, commits, version, missing = (int(count or 0) for count in counts)
                assert (rows, letters, commits, missing) == (stored, refused, version, 0), event_type
                entries = StreamPosition.parse(position).entries if position else 0
                now = (rows, letters, commits, entries)
                assert all(new >= old for new, old in zip(now, before.get(event_type, now), strict=True)), event_type
                before[event_type] = now
            looks += 1
            stop.wait(0.1)
    return looks


def read_slowly(settings: Settings, stop: threading.Event) -> int:
    """Transactions that stay open for seconds: what they see does not change below them."""
    transactions = 0
    with warehouse.connect(settings, read_only=True) as connection:
        while not stop.is_set():
            with warehouse.transaction(connection):
                first = connection.execute(SEEN).fetchall()
                stop.wait(3.0)
                assert connection.execute(SEEN).fetchall() == first
            transactions += 1
    return transactions


def read_marts(settings: Settings, stop: threading.Event) -> int:
    """The marts of one transformation fit together, also while the next replaces them."""
    looks = 0
    with warehouse.connect(settings, read_only=True) as connection:
        while not stop.wait(0.2):
            searches, ids, by_day = connection.execute(MARTS).fetchall()[0]
            assert searches == ids
            assert by_day > 0
            looks += 1
    return looks


MARTS = """
    SELECT count(*), count(DISTINCT search_event_id), (SELECT count(*) FROM marts.fct_search_funnel_daily)
    FROM marts.fct_search_funnel
"""


def transform(settings: Settings, upkeep: list[maintenance.Upkeep], stop: threading.Event) -> int:
    """The models, again and again, for a minute; on a busy machine until maintenance has deleted files at least once.
    In this thread: SQLMesh stays in the one it was loaded in."""
    runs, began = 0, time.monotonic()
    while not stop.is_set() and (time.monotonic() - began < SECONDS or not _deleted(upkeep)):
        assert time.monotonic() - began < AT_MOST, upkeep
        runs += transformation.transform(settings, now=cut.take(settings, worker.utc_now)).mode != "nothing"
    return runs


def _deleted(upkeep: list[maintenance.Upkeep]) -> int:
    return sum(done.files_deleted for done in upkeep)


@pytest.fixture
def home_with_models(own_servers: Settings) -> Iterator[Settings]:
    yield own_servers
    project.forget(own_servers)


def test_a_minute_of_everything_at_once(home_with_models: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with_models
    monkeypatch.setattr(maintenance, "KEEP", KEPT)
    sent, upkeep, stop, draw = Sent(), list[maintenance.Upkeep](), threading.Event(), random.Random(21)
    publish(home, sent, draw)
    for event_type in MAKERS:
        worker.ingest_stream(home, event_type)
    transformation.transform(home, now=cut.take(home, worker.utc_now))  # the first plan, which makes all tables
    with ThreadPoolExecutor(5) as threads, started(home, *MAKERS, pace=1.0) as ingestion:
        work: list[tuple[Any, ...]] = [
            (keep_publishing, sent, draw),
            (tidy, upkeep),
            (read,),
            (read_slowly,),
            (read_marts,),
        ]
        beside = [threads.submit(_or_stop, stop, each, home, *arguments, stop) for each, *arguments in work]
        try:
            runs = transform(home, upkeep, stop)
        finally:
            stop.set()
        _, _, *looks = [each.result() for each in beside]
        until(lambda: not any(worker.waiting(home).values()))
        assert end(ingestion) == "", "ingestion had trouble"
    _compare(home, sent)
    assert min(looks) > 3
    assert _deleted(upkeep) > 0
    assert runs > 1
    transformation.transform(home, now=cut.take(home, worker.utc_now))
    with warehouse.connect(home, read_only=True) as connection:
        [funnel] = connection.execute("SELECT count(*) FROM marts.fct_search_funnel").fetchall()
    assert funnel == (len(sent.ids["search"]),)


def _or_stop(stop: threading.Event, work: Callable[..., Any], *arguments: Any) -> Any:
    """When one fails, all end."""
    try:
        return work(*arguments)
    except BaseException:
        stop.set()
        raise


def _compare(settings: Settings, sent: Sent) -> None:
    with warehouse.connect(settings, read_only=True) as connection:
        totals = accounting(connection)
        stored = {event_type: _ids(connection, event_type) for event_type in MAKERS}
        letters = connection.execute("SELECT raw_payload FROM raw.dead_letters").fetchall()
    assert totals.holds, totals.sentence()
    assert {event_type: set(ids) for event_type, ids in stored.items()} == sent.ids
    assert all(len(ids) == len(set(ids)) for ids in stored.values()), "an event is stored twice"
    assert sorted(bytes(letter) for (letter,) in letters) == sorted(sent.letters)
    assert (totals.received, totals.duplicates) == (sent.lines, sent.repeats)


def _ids(connection: duckdb.DuckDBPyConnection, event_type: str) -> list[str]:
    return [row[0] for row in connection.execute(f"SELECT event_id FROM raw.{event_type}_events").fetchall()]

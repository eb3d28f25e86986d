"""The work that is timed: draining the streams with all checks, and the same bytes into the same tables with none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import redis
import zstandard

from benchmarks.ingestion.traffic import ID_LENGTH, TIME_LENGTH, Traffic, id_offset
from searchflow import streams, tables, warehouse
from searchflow.ingestion import worker
from searchflow.settings import Settings

pa.array([""])  # makes pyarrow import pandas: the start of a process is not measured

ENTRIES_A_READ = 64
BARE = "bare"
"""The schema of the tables that the loader without checks fills; they are declared like those in `raw`."""


def drain(settings: Settings, now: datetime) -> dict[str, Any]:
    """Do what `searchflow ingest` does, without its start: drain the three streams at once, each by one worker."""
    result = worker.IngestionResult()
    with ThreadPoolExecutor(len(streams.EVENT_TYPES)) as threads:
        futures = {
            event_type: threads.submit(worker.ingest_stream, settings, event_type, clock=lambda: now)
            for event_type in streams.EVENT_TYPES
        }
        for event_type, future in futures.items():
            done = future.result()
            result.add(event_type, done.counts, commits=done.commits)
    return {**asdict(result.counts), "commits": result.commits}


def make_bare_tables(settings: Settings) -> None:
    """Create tables with the columns, the partitions and the compression of the raw ones."""
    with warehouse.connect(settings) as connection:
        connection.execute(f"CREATE SCHEMA {BARE}")
        tables.compress_lightly(connection, BARE)
        for table in tables.PARTITIONED:
            connection.execute(f"CREATE TABLE {BARE}.{table} ({tables.RAW_TABLES[table]})")
            connection.execute(
                f"ALTER TABLE {BARE}.{table} SET PARTITIONED BY (year(event_ts), month(event_ts), day(event_ts))"
            )


def load_bare(settings: Settings, now: datetime) -> int:
    """Read the entries and append their lines, the three streams at once. Return how many lines."""
    with ThreadPoolExecutor(len(streams.EVENT_TYPES)) as threads:
        return sum(threads.map(lambda event_type: _load_stream(settings, event_type, now), streams.EVENT_TYPES))


def _load_stream(settings: Settings, event_type: str, now: datetime) -> int:
    """Load one stream in commits of the size that ingestion makes."""
    total, after = 0, streams.START
    with streams.connect(settings) as client, warehouse.connect(settings) as connection:
        connection.execute("SET enable_progress_bar = false")
        while True:
            lines, after = _read(client, streams.EVENT_STREAMS[event_type], after, settings.batch_events)
            if not lines:
                return total
            incoming = pa.table({"payload": pa.array(lines, type=pa.binary()).cast(pa.string())})
            connection.register("incoming", incoming)
            connection.execute(_insert(event_type), [now.replace(tzinfo=None)])
            total += len(lines)


def _read(client: redis.Redis, stream: str, after: str, most: int) -> tuple[list[bytes], str]:
    lines: list[bytes] = []
    while len(lines) < most:
        answer: Any = client.xread({stream: after}, count=ENTRIES_A_READ)
        if not answer:
            break
        entries = answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0]
        for _, fields in entries:
            lines += zstandard.ZstdDecompressor().decompress(fields[b"data"]).split(b"\n")
        after = entries[-1][0].decode()
    return lines, after


def _insert(event_type: str) -> str:
    identifier = id_offset(event_type)
    time = identifier + ID_LENGTH + len('","timestamp":"')
    session = time + TIME_LENGTH + len('Z","session_id":"')
    user = session + 14 + len('","user_id":"')
    return f"""
        INSERT INTO {BARE}.{event_type}_events
        SELECT substr(payload, {identifier}, {ID_LENGTH}), CAST(substr(payload, {time}, {TIME_LENGTH}) AS TIMESTAMP),
               substr(payload, {user}, 10), substr(payload, {session}, 14), payload, 1, ?, 'stream', 'position', 'batch'
        FROM incoming
        """


def fill(settings: Settings, traffics: list[Traffic], now: datetime, rows_a_commit: int = 500_000) -> int:
    """Store traffic as if it had been ingested before: in order, in files of the size that maintenance leaves."""
    total, stamp = 0, (now - timedelta(hours=1)).astimezone(UTC).replace(tzinfo=None)
    with warehouse.connect(settings) as connection:
        connection.execute("SET enable_progress_bar = false")
        for traffic in traffics:
            for first in range(0, traffic.events, rows_a_commit):
                last = min(first + rows_a_commit, traffic.events)
                connection.execute(
                    f"""
                    INSERT INTO raw.{traffic.event_type}_events
                    SELECT event_id, event_ts, user_id, session_id, payload, 1, ?, 'stream', 'position', 'batch'
                    FROM ({traffic.select(first, last)}){" ORDER BY event_id" if traffic.id_version != 7 else ""}
                    """,
                    [stamp],
                )
                total += last - first
    return total

"""One commit: check a batch against the contract, drop exact duplicates, and write rows, dead letters, the new
position and the batch's counts in one DuckLake transaction.

Fencing. Each shard has a small table of positions, and every transaction that writes events of a type updates that
type's table. DuckLake refuses to commit when another transaction has changed the same rows since ours began, so two
workers can never both move a position, nor both decide that an event is new. The loser looks again: if its own position
moved, another worker has taken over and it stops; otherwise it repeats the transaction on the newer snapshot.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

import duckdb
import pyarrow as pa

from searchflow import events, warehouse
from searchflow.errors import AccountingError, FencedError, SearchFlowError, StorageError, is_disk_full
from searchflow.events import Rejection
from searchflow.ingestion import checks, lateness, schema_changes
from searchflow.ingestion.source import Source, SourceBatch
from searchflow.ops import record

T = TypeVar("T")

LOOKBACK = timedelta(hours=24)
"""Stored rows this long around the batch's events are searched for the same event_id. An exact duplicate has the same
timestamp as its original, so it always lies in there; the margin finds conflicting ones with another timestamp."""
ATTEMPTS = 8
DEAD_LETTERS = uuid.UUID("6d6f5f4e-0c5b-5b7e-9a51-5ea7c4f10311")
"""Namespace of dead letter ids: the same input at the same place always has the same id."""


@dataclass
class Counts:
    """What became of a batch. `received == stored + duplicates + dead_letters`, always."""

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    late: int = 0

    def add(self, other: Counts) -> None:
        """Add another batch's counts to these."""
        self.received += other.received
        self.stored += other.stored
        self.duplicates += other.duplicates
        self.dead_letters += other.dead_letters
        self.late += other.late

    def check(self) -> None:
        """Raise an AccountingError when the identity does not hold."""
        if self.received != self.stored + self.duplicates + self.dead_letters:
            raise AccountingError(
                f"received {self.received} is not stored {self.stored} + duplicates {self.duplicates} + dead letters "
                f"{self.dead_letters}. This is a bug: nothing was committed; please report it with the log."
            )


def commit(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    batch: SourceBatch,
    *,
    after: str | None,
    now: datetime,
    limits: checks.Limits,
    prepared: checks.Prepared | None = None,
) -> Counts:
    """Write one batch that was read from `source` behind position `after`. Returns what became of it.

    `prepared` is the batch after its checks, when they were made ahead.

    Raises:
        FencedError: the stored position is no longer `after`.
        StorageError: the disk is full; nothing was written.
    """
    started = time.monotonic()
    ready = prepared or checks.prepare(connection, batch, source.event_type, now, limits)
    return in_transaction(connection, lambda: _write(connection, source, batch, ready, after, now, started, limits))


def in_transaction(connection: duckdb.DuckDBPyConnection, write: Callable[[], T]) -> T:
    """Run `write` in a transaction; again, on the newer snapshot, when another writer's commit came first.

    Raises:
        StorageError: the disk is full; nothing was written.
        SearchFlowError: it cannot be committed; nothing was written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with warehouse.transaction(connection):
                return write()
        except duckdb.Error as error:
            if is_disk_full(error):
                raise StorageError(
                    "The disk is full: the batch was not committed and stays in its source. Free some space and run "
                    "the same command again."
                ) from error
            if "conflict" not in str(error).lower() or attempt == ATTEMPTS:
                raise SearchFlowError(
                    f"The commit of a batch failed: {str(error).splitlines()[0][:300]}. Nothing was written; run the "
                    "same command again."
                ) from error
            time.sleep(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 (jitter)
    raise AssertionError("unreachable")


def position(connection: duckdb.DuckDBPyConnection, shard: str, key: str) -> str | None:
    """The stored position of a source, or None before its first commit."""
    row = connection.execute(f"SELECT position FROM ops.position_{shard} WHERE source = ?", [key]).fetchone()
    return None if row is None else str(row[0])


def positions(connection: duckdb.DuckDBPyConnection, shard: str) -> list[tuple[str, str]]:
    """All stored positions of a shard: (key, position)."""
    found = connection.execute(
        f"SELECT source, position FROM ops.position_{shard} WHERE source <> '{record.GUARD}'"
    ).fetchall()
    return [(str(key), str(text)) for key, text in found]


def _write(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    batch: SourceBatch,
    prepared: checks.Prepared,
    after: str | None,
    now: datetime,
    started: float,
    limits: checks.Limits,
) -> Counts:
    batch_id = str(uuid.uuid4())
    stamp = now.replace(tzinfo=None)
    _move_position(connection, source, batch, after, batch_id, stamp, set(prepared.columns))
    counts = Counts(received=batch.received)
    letters = list(prepared.rejected)
    days: set[date] = set()
    bounds: list[datetime] = []
    for event_type, table in prepared.columns.items():
        fresh, duplicates, conflicts = new_rows(connection, event_type, table)
        counts.duplicates += duplicates
        letters += [
            (
                prepared.line_positions[index],
                prepared.lines[index],
                Rejection("conflicting_duplicate", "event_id is known with another payload", event_type),
            )
            for index in conflicts
        ]
        if len(fresh):
            about = (source.name, event_type, fresh)
            counts.late += lateness.measure(connection, *about, batch_id, stamp, limits.lateness)
            schema_changes.note(connection, *about, prepared.lines, batch_id, stamp)
            days |= set(insert(connection, source.name, prepared, event_type, fresh, batch_id, stamp))
            times = pa.compute.min_max(fresh.column("event_ts")).as_py()
            bounds += [times["min"], times["max"]]
            counts.stored += len(fresh)
    counts.dead_letters = insert_dead_letters(connection, source.key, source.name, letters, batch_id, stamp)
    counts.check()
    record.rows(
        connection,
        "ops.ingestion_batches",
        [
            {
                "batch_id": batch_id,
                "shard": source.shard,
                "event_type": source.event_type,
                "source": source.name,
                "started_at": stamp - timedelta(seconds=time.monotonic() - started),
                "committed_at": stamp,
                "received": counts.received,
                "stored": counts.stored,
                "duplicates": counts.duplicates,
                "dead_letters": counts.dead_letters,
                "late": counts.late,
                "first_event_ts": min(bounds, default=None),
                "last_event_ts": max(bounds, default=None),
                "touched_days": sorted(days),
                "position": batch.position,
            }
        ],
    )
    return counts


def _move_position(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    batch: SourceBatch,
    after: str | None,
    batch_id: str,
    stamp: datetime,
    event_types: set[str],
) -> None:
    """Compare and set. The guard rows make transactions on the same tables conflict even for different sources."""
    stored = position(connection, source.shard, source.key)
    if stored != after:
        raise FencedError(
            f"Another worker moved {source.name} from {after or 'its start'} to {stored}. This one stops; nothing was "
            "lost or counted twice. Run one worker a shard."
        )
    guarded = {source.shard} | event_types
    for shard in sorted(guarded):
        connection.execute(
            f"UPDATE ops.position_{shard} SET version = version + 1, batch_id = ? WHERE source = ?",
            [batch_id, record.GUARD],
        )
    if stored is None:
        connection.execute(
            f"INSERT INTO ops.position_{source.shard} VALUES (?, ?, 1, ?, ?, NULL)",
            [source.key, batch.position, batch_id, stamp],
        )
    else:
        connection.execute(
            f"UPDATE ops.position_{source.shard} SET position = ?, version = version + 1, batch_id = ?, updated_at = ? "
            "WHERE source = ?",
            [batch.position, batch_id, stamp, source.key],
        )


def new_rows(
    connection: duckdb.DuckDBPyConnection, event_type: str, table: pa.Table
) -> tuple[pa.Table, int, list[int]]:
    """(rows to store, how many exact duplicates, `seq` of conflicting ones).

    Of several rows with one event_id in the batch the first stands for all; then it is compared with what is stored.
    """
    connection.register("incoming", table)
    try:
        repeated = connection.execute(
            """
            SELECT later.seq, later.payload, first.payload
            FROM (SELECT event_id, min(seq) AS seq FROM incoming GROUP BY event_id HAVING count(*) > 1) AS firsts
            JOIN incoming AS first ON first.seq = firsts.seq
            JOIN incoming AS later ON later.event_id = firsts.event_id AND later.seq > firsts.seq
            """
        ).fetchall()
        stored = _stored_before(connection, event_type)
    finally:
        connection.unregister("incoming")
    drop = {seq for seq, _, _ in repeated} | {seq for seq, _, _ in stored}
    conflicts = {seq for seq, mine, theirs in [*repeated, *stored] if not events.same_document(mine, theirs)}
    if not drop:
        return table, 0, []
    keep = pa.compute.invert(pa.compute.is_in(table.column("seq"), value_set=pa.array(sorted(drop), type=pa.int64())))
    return table.filter(keep), len(drop) - len(conflicts), sorted(conflicts)


def _stored_before(connection: duckdb.DuckDBPyConnection, event_type: str) -> list[tuple[int, str, str]]:
    """(seq, incoming payload, stored payload) of incoming events whose id is stored, on the days around theirs.

    Ids first, documents then: most batches hold few events that are stored, and the documents of a day are many times
    as large as its ids.
    """
    days = [row[0] for row in connection.execute("SELECT DISTINCT CAST(event_ts AS DATE) FROM incoming").fetchall()]
    if not days:
        return []
    runs = _runs(days)
    known = connection.execute(_around(event_type, runs, "s.event_id", "incoming")).to_arrow_table()
    if not len(known):
        return []
    connection.register("known", known)
    try:
        stored = _around(event_type, runs, "s.event_id, s.payload", "known")
        found = connection.execute(
            f"SELECT i.seq, i.payload, s.payload FROM ({stored}) AS s JOIN incoming AS i USING (event_id)"
        ).fetchall()
    finally:
        connection.unregister("known")
    return [(int(seq), str(mine), str(theirs)) for seq, mine, theirs in found]


def _around(event_type: str, runs: Sequence[tuple[date, date]], columns: str, ids: str) -> str:
    """A SELECT of stored events whose id is in the relation `ids`; one part a run, so that each is pruned by day."""
    seconds = int(LOOKBACK.total_seconds())
    return " UNION ALL ".join(
        f"""
        SELECT {columns} FROM raw.{event_type}_events AS s SEMI JOIN {ids} USING (event_id)
        WHERE s.event_ts >= TIMESTAMP '{first} 00:00:00' - INTERVAL {seconds} SECONDS
          AND s.event_ts < TIMESTAMP '{last} 00:00:00' + INTERVAL {seconds + 86400} SECONDS
        """
        for first, last in runs
    )


def _runs(days: Sequence[date], most: int = 8) -> list[tuple[date, date]]:
    """Runs of nearby days, so that a single very late event does not make us read everything in between."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] <= timedelta(days=3):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    while len(runs) > most:
        gaps = [(runs[i + 1][0] - runs[i][1], i) for i in range(len(runs) - 1)]
        _, closest = min(gaps)
        runs[closest : closest + 2] = [(runs[closest][0], runs[closest + 1][1])]
    return runs


def insert(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    prepared: checks.Prepared,
    event_type: str,
    fresh: pa.Table,
    batch_id: str,
    stamp: datetime,
) -> list[date]:
    """Append the rows, in the order they have (sorted by id, also within each day's file); returns their days."""
    places = [prepared.line_positions[index] for index in fresh.column("seq").to_pylist()]
    connection.register("fresh", fresh.append_column("source_position", pa.array(places, type=pa.string())))
    try:
        connection.execute(
            f"""
            INSERT INTO raw.{event_type}_events
            SELECT event_id, event_ts, user_id, session_id, payload, {events.SCHEMA_VERSION}, ?, ?, source_position, ?
            FROM fresh
            """,
            [stamp, source, batch_id],
        )
        days = connection.execute("SELECT DISTINCT CAST(event_ts AS DATE) FROM fresh").fetchall()
    finally:
        connection.unregister("fresh")
    return [row[0] for row in days]


def insert_dead_letters(
    connection: duckdb.DuckDBPyConnection,
    key: str,
    source: str,
    letters: Sequence[tuple[str, bytes, Rejection]],
    batch_id: str,
    stamp: datetime,
) -> int:
    """Keep what was refused, byte for byte: (position in the source, bytes, why). Returns how many."""
    if not letters:
        return 0
    table = pa.table(
        {
            "dead_letter_id": [str(uuid.uuid5(DEAD_LETTERS, f"{key}\0{place}")) for place, _, _ in letters],
            "source_position": [place for place, _, _ in letters],
            "event_type": pa.array([why.event_type for _, _, why in letters], type=pa.string()),
            "reason_code": [why.code for _, _, why in letters],
            "reason": [why.reason for _, _, why in letters],
            "raw_payload": pa.array([content for _, content, _ in letters], type=pa.binary()),
        }
    )
    connection.register("letters", table)
    try:
        connection.execute(
            """
            INSERT INTO raw.dead_letters (dead_letter_id, received_at, source, source_position, event_type, reason_code,
                                          reason, raw_payload, batch_id, status)
            SELECT dead_letter_id, ?, ?, source_position, event_type, reason_code, reason, raw_payload, ?, 'open'
            FROM letters
            """,
            [stamp, source, batch_id],
        )
    finally:
        connection.unregister("letters")
    return len(letters)

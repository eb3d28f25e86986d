"""One commit: check a batch against the contract, drop exact duplicates, and write rows, dead letters, the new
position and the batch's counts in one DuckLake transaction.

Fencing. Transactions that move the same position or write events of the same type conflict (see `positions`), and the
lake refuses the later one. The loser looks again: if its own position moved, another worker has taken over and it stops;
otherwise it repeats the transaction on the newer snapshot.
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
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import events, tracing, warehouse
from searchflow.errors import AccountingError, SearchFlowError, StorageError, engine_reason, is_disk_full
from searchflow.events import Rejection
from searchflow.ingestion import checks, lateness, positions, schema_changes, stored
from searchflow.ingestion.source import Source, SourceBatch
from searchflow.ingestion.tombstones import ERASED, Tombstones
from searchflow.ops import record

T = TypeVar("T")

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
    erased: Tombstones | None = None,
    known: stored.Known | None = None,
) -> Counts:
    """Write one batch that was read from `source` behind position `after`. Returns what became of it.

    `prepared` is the batch after its checks, when they were made ahead; `erased` are the people who were forgotten;
    `known` is what the worker knows of stored events from its look ahead and from its last commit.

    Raises:
        FencedError: the stored position is no longer `after`.
        StorageError: the disk is full; nothing was written.
    """
    started = time.monotonic()
    ready = prepared or checks.prepare(connection, batch, source.event_type, now, limits)
    known = known or stored.Known()
    counts, committed = in_transaction(
        connection, lambda: _write(connection, source, batch, ready, after, now, started, limits, erased, known)
    )
    known.committed(committed)
    return counts


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
                    f"The commit of a batch failed: {engine_reason(error)}. Nothing was written; run the "
                    "same command again."
                ) from error
            time.sleep(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 (jitter)
    raise AssertionError("unreachable")


def _write(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    batch: SourceBatch,
    prepared: checks.Prepared,
    after: str | None,
    now: datetime,
    started: float,
    limits: checks.Limits,
    erased: Tombstones | None,
    known: stored.Known,
) -> tuple[Counts, stored.Committed | None]:
    batch_id = str(uuid.uuid4())
    stamp = now.replace(tzinfo=None)
    place = positions.look(connection, source, after)
    counts = Counts(received=batch.received)
    letters, columns = list(prepared.rejected), prepared.columns
    gone: list[tuple[int, Rejection]] = []
    if erased:
        columns, gone = erased.without_erased(columns)
        letters += [(prepared.line_positions[index], b"", why) for index, why in gone]
    days: set[date] = set()
    bounds: list[datetime] = []
    newest: dict[str, datetime | None] = {}
    looks, originals = known.take(), dict[str, stored.Originals]()
    for event_type, table in columns.items():
        guard = place.guard if event_type == source.shard else positions.read_guard(connection, event_type)
        found = known.originals(looks.get(event_type), guard, event_type)
        if found is None:
            found = stored.look(connection, event_type, table)
        originals[event_type] = stored.complete(table, prepared.lines, found)
        fresh, duplicates, conflicts = new_rows(table, prepared.lines, originals[event_type])
        counts.duplicates += duplicates
        letters += [
            (
                prepared.line_positions[index],
                prepared.lines[index],
                Rejection("conflicting_duplicate", "event_id is known with another payload", event_type),
            )
            for index in conflicts
        ]
        newest[event_type] = None
        if len(fresh):
            new = store(
                connection,
                source.name,
                event_type,
                fresh,
                prepared,
                batch_id,
                stamp,
                guard.watermark if limits.load is None else limits.load.get(event_type),
                limits.lateness,
            )
            counts.stored += len(fresh)
            counts.late += new.late
            days |= new.days
            bounds += [new.first, new.last]
            newest[event_type] = min(new.last, stamp)
    positions.move(connection, place, batch.position, newest, batch_id, stamp)
    if erased:
        letters = erased.blanked(letters)
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
                "traceparent": tracing.traceparent(),
            }
        ],
    )
    return counts, None if gone else stored.Committed(batch_id, prepared, columns, originals)


@dataclass(frozen=True)
class New:
    """What was written of one event type: how many of the events are late, their days, the first and the last."""

    late: int
    days: set[date]
    first: datetime
    last: datetime


def store(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    fresh: pa.Table,
    prepared: checks.Prepared,
    batch_id: str,
    stamp: datetime,
    watermark: datetime | None,
    allowed: timedelta,
) -> New:
    """Rows that are new, with their lateness and the fields that were never seen before."""
    about = (source, event_type, fresh)
    late = lateness.measure(connection, *about, batch_id, stamp, watermark, allowed)
    schema_changes.note(connection, *about, prepared, batch_id, stamp)
    insert(connection, *about, prepared, batch_id, stamp)
    times = pc.min_max(fresh.column("event_ts")).as_py()
    return New(late, set(stored.days(fresh)), times["min"], times["max"])


def new_rows(table: pa.Table, lines: Sequence[bytes], originals: stored.Originals) -> tuple[pa.Table, int, list[int]]:
    """(rows to store, how many exact duplicates, `seq` of conflicting ones), of rows that are sorted by event_id.

    Of several rows with one event_id in the batch the first stands for all; then it is compared with what is stored.
    """
    if not originals:
        return table, 0, []
    conflicts = [seq for seq, original in originals.items() if not events.same_document(lines[seq], original)]
    drop = pa.array(sorted(originals), type=pa.int64())
    keep = pc.invert(pc.is_in(table.column("seq"), value_set=drop))
    return table.filter(keep), len(originals) - len(conflicts), sorted(conflicts)


def insert(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    fresh: pa.Table,
    prepared: checks.Prepared,
    batch_id: str,
    stamp: datetime,
) -> None:
    """Append the rows with their lines, in the order they have (sorted by id, also within each day's file)."""
    sequence = fresh.column("seq").to_pylist()
    payloads = _texts([prepared.lines[index] for index in sequence])
    places = pa.array([prepared.line_positions[index] for index in sequence], type=pa.string())
    connection.register("fresh", fresh.append_column("payload", payloads).append_column("source_position", places))
    try:
        connection.execute(
            f"""
            INSERT INTO raw.{event_type}_events
            SELECT event_id, event_ts, user_id, session_id, payload, {events.SCHEMA_VERSION}, ?, ?, source_position, ?
            FROM fresh
            """,
            [stamp, source, batch_id],
        )
    finally:
        connection.unregister("fresh")


def _texts(lines: Sequence[bytes]) -> pa.Array:
    """The lines as one Arrow column. Joined, they are copied once, into memory of just their size; an array that Arrow
    makes of a list grows again and again, each time into fresh memory.

    Raises:
        pyarrow.ArrowInvalid: one is not UTF-8.
    """
    ends = np.zeros(len(lines) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(lines))]
    return pa.Array.from_buffers(pa.large_binary(), len(lines), buffers).cast(pa.large_string())


def insert_dead_letters(
    connection: duckdb.DuckDBPyConnection,
    key: str,
    source: str,
    letters: Sequence[tuple[str, bytes, Rejection]],
    batch_id: str,
    stamp: datetime,
) -> int:
    """Keep what was refused, byte for byte: (position in the source, bytes, why). Returns how many.

    What names a forgotten person comes without bytes and needs nobody's decision: it is closed at once.
    """
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
                                          reason, raw_payload, batch_id, status, resolved_at, resolved_by)
            SELECT dead_letter_id, $stamp, $source, source_position, event_type, reason_code, reason, raw_payload, $batch,
                   CASE WHEN reason_code = $erased THEN 'discarded' ELSE 'open' END,
                   CASE WHEN reason_code = $erased THEN $stamp END, CASE WHEN reason_code = $erased THEN 'erasure' END
            FROM letters
            """,
            {"stamp": stamp, "source": source, "batch": batch_id, "erased": ERASED},
        )
    finally:
        connection.unregister("letters")
    return len(letters)

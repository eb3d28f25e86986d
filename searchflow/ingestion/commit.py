"""One commit: check a batch against the contract, drop exact duplicates, and write rows, dead letters, the new
position and the batch's counts in one DuckLake transaction.

Fencing. Transactions that move the same position or write events of the same type conflict (see `positions`), and the
lake refuses the later one. The loser looks again: if its own position moved, another worker has taken over and it
stops; otherwise it repeats the transaction on the newer snapshot.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import events, tracing, warehouse
from searchflow.backoff import Backoff
from searchflow.errors import AccountingError, SearchFlowError, StorageError, engine_reason, is_disk_full
from searchflow.events import Rejection
from searchflow.ingestion import checks, lateness, positions, schema_changes, stored
from searchflow.ingestion.source import Source, SourceBatch
from searchflow.ingestion.tombstones import ERASED, Tombstones
from searchflow.ops import record

T = TypeVar("T")

AGAIN = Backoff(attempts=8, first=0.05, jitter=True)
"""Attempts when another writer's commit came first."""
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
    limits: checks.TimeLimits,
    prepared: checks.PreparedBatch | None = None,
    erased: Tombstones | None = None,
    known: stored.KnownEvents | None = None,
) -> Counts:
    """Write one batch that was read from `source` behind position `after`. Return what became of it.

    `prepared` is the batch after its checks, when they were made ahead; `erased` are the people who were forgotten;
    `known` is what the worker knows of stored events from its look ahead and from its last commit.

    Raises:
        FencedError: the stored position is no longer `after`.
        StorageError: the disk is full; nothing was written.
    """
    started = time.monotonic()
    attempt = _Attempt(
        source,
        batch,
        prepared or checks.prepare(connection, batch, source.event_type, now, limits),
        after,
        now,
        started,
        limits,
        erased,
        known or stored.KnownEvents(),
    )
    counts, committed = in_transaction(connection, lambda: _write(connection, attempt))
    attempt.known.committed(committed)
    return counts


def in_transaction(connection: duckdb.DuckDBPyConnection, write: Callable[[], T]) -> T:
    """Run `write` in a transaction. Run it again, on the newer snapshot, when another writer's commit came first.

    Raises:
        StorageError: the disk is full; nothing was written.
        SearchFlowError: it cannot be committed; nothing was written.
    """
    for attempt in AGAIN.tries():
        try:
            with warehouse.transaction(connection):
                return write()
        except duckdb.Error as error:
            if is_disk_full(error):
                raise StorageError(
                    "The disk is full: the batch was not committed and stays in its source. Free some space and run "
                    "the same command again."
                ) from error
            if "conflict" not in str(error).lower() or attempt == AGAIN.attempts:
                raise SearchFlowError(
                    f"The commit of a batch failed: {engine_reason(error)}. Nothing was written; run the "
                    "same command again."
                ) from error
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class _Attempt:
    """What a commit starts from. A commit that lost against another writer starts from the same again."""

    source: Source
    batch: SourceBatch
    prepared: checks.PreparedBatch
    after: str | None
    now: datetime
    started: float
    limits: checks.TimeLimits
    erased: Tombstones | None
    known: stored.KnownEvents

    @property
    def stamp(self) -> datetime:
        """Return the moment of the commit as the lake keeps it."""
        return self.now.replace(tzinfo=None)

    def watermark(self, event_type: str, guard: positions.Guard) -> datetime | None:
        """Return up to when events of a type were known: to this load when it says so, else to the lake."""
        return guard.watermark if self.limits.load is None else self.limits.load.get(event_type)

    def letter(self, index: int, why: Rejection, *, blank: bool = False) -> tuple[str, bytes, Rejection]:
        """Make the dead letter of one line of the batch."""
        return self.prepared.line_positions[index], b"" if blank else self.prepared.lines[index], why


@dataclass
class _Written:
    """What a commit has written so far."""

    batch_id: str
    counts: Counts
    letters: list[tuple[str, bytes, Rejection]]
    days: set[date] = field(default_factory=set)
    bounds: list[datetime] = field(default_factory=list)
    newest: dict[str, datetime | None] = field(default_factory=dict)
    originals: dict[str, stored.Originals] = field(default_factory=dict)


def _write(connection: duckdb.DuckDBPyConnection, attempt: _Attempt) -> tuple[Counts, stored.Committed | None]:
    """Write a whole batch inside a transaction: events, the new position, dead letters and the batch's counts."""
    place = positions.look(connection, attempt.source, attempt.after)
    written = _Written(str(uuid.uuid4()), Counts(received=attempt.batch.received), list(attempt.prepared.rejected))
    columns, gone = _without_erased(attempt)
    written.letters += [attempt.letter(index, why, blank=True) for index, why in gone]
    looks = attempt.known.take()
    for event_type, table in columns.items():
        own = event_type == attempt.source.shard
        guard = place.guard if own else positions.read_guard(connection, event_type)
        _write_type(connection, attempt, written, event_type, table, guard, looks.get(event_type))
    positions.move(connection, place, attempt.batch.position, written.newest, written.batch_id, attempt.stamp)
    letters = attempt.erased.blanked(written.letters) if attempt.erased else written.letters
    key, name = attempt.source.key, attempt.source.name
    counts = written.counts
    counts.dead_letters = insert_dead_letters(connection, key, name, letters, written.batch_id, attempt.stamp)
    counts.check()
    _note_batch(connection, attempt, written)
    return counts, None if gone else stored.Committed(written.batch_id, attempt.prepared, columns, written.originals)


def _without_erased(attempt: _Attempt) -> tuple[dict[str, pa.Table], list[tuple[int, Rejection]]]:
    """Separate the events from those of forgotten people. The latter are returned as line numbers with the reason."""
    columns = attempt.prepared.columns
    return attempt.erased.without_erased(columns) if attempt.erased else (dict(columns), [])


def _write_type(
    connection: duckdb.DuckDBPyConnection,
    attempt: _Attempt,
    written: _Written,
    event_type: str,
    table: pa.Table,
    guard: positions.Guard,
    look: stored.FoundEvents | None,
) -> None:
    """Write the events of one type that are new, and count those that are stored already."""
    found = attempt.known.originals(look, guard, event_type)
    if found is None:
        found = stored.look(connection, event_type, table)
    originals = written.originals[event_type] = stored.complete(table, attempt.prepared.lines, found)
    fresh, duplicates, conflicts = new_rows(table, attempt.prepared.lines, originals)
    written.counts.duplicates += duplicates
    conflict = Rejection("conflicting_duplicate", "event_id is known with another payload", event_type)
    written.letters += [attempt.letter(index, conflict) for index in conflicts]
    written.newest[event_type] = None
    if not len(fresh):
        return
    new = store(
        connection,
        attempt.source.name,
        event_type,
        fresh,
        attempt.prepared,
        written.batch_id,
        attempt.stamp,
        attempt.watermark(event_type, guard),
        attempt.limits.lateness,
    )
    written.counts.stored += len(fresh)
    written.counts.late += new.late
    written.days |= new.days
    written.bounds += [new.first, new.last]
    written.newest[event_type] = min(new.last, attempt.stamp)


def _note_batch(connection: duckdb.DuckDBPyConnection, attempt: _Attempt, written: _Written) -> None:
    """Write the batch's row in `ops.ingestion_batches`."""
    took = timedelta(seconds=time.monotonic() - attempt.started)
    record.rows(
        connection,
        "ops.ingestion_batches",
        [
            {
                "batch_id": written.batch_id,
                "shard": attempt.source.shard,
                "event_type": attempt.source.event_type,
                "source": attempt.source.name,
                "started_at": attempt.stamp - took,
                "committed_at": attempt.stamp,
                **asdict(written.counts),
                "first_event_ts": min(written.bounds, default=None),
                "last_event_ts": max(written.bounds, default=None),
                "touched_days": sorted(written.days),
                "position": attempt.batch.position,
                "traceparent": tracing.traceparent(),
            }
        ],
    )


@dataclass(frozen=True)
class New:
    """What was written of one event type: how many events are late, their days, and the first and the last event."""

    late: int
    days: set[date]
    first: datetime
    last: datetime


def store(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    fresh: pa.Table,
    prepared: checks.PreparedBatch,
    batch_id: str,
    stamp: datetime,
    watermark: datetime | None,
    allowed: timedelta,
) -> New:
    """Store rows that are new, with their lateness and the fields that were never seen before."""
    about = (source, event_type, fresh)
    late = lateness.measure(connection, *about, batch_id, stamp, watermark, allowed)
    schema_changes.note(connection, *about, prepared, batch_id, stamp)
    insert(connection, *about, prepared, batch_id, stamp)
    times = pc.min_max(fresh.column("event_ts")).as_py()
    return New(late, set(stored.days(fresh)), times["min"], times["max"])


def new_rows(table: pa.Table, lines: Sequence[bytes], originals: stored.Originals) -> tuple[pa.Table, int, list[int]]:
    """Return (rows to store, number of exact duplicates, `seq` of conflicting rows) for rows that are sorted by
    event_id.

    Of several rows with one event_id in the batch, the first stands for all. It is then compared with what is stored.
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
    prepared: checks.PreparedBatch,
    batch_id: str,
    stamp: datetime,
) -> None:
    """Append the rows with their lines, in the order that they have (sorted by id, also within each day's file)."""
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
    """Return the lines as one Arrow column.

    Joined lines are copied once, into memory of exactly their size. An array that Arrow makes of a list grows again and
    again, each time into fresh memory.

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
    """Store refused input, byte for byte, as dead letters: (position in the source, bytes, reason). Return how many.

    Input that names a forgotten person comes without bytes and needs no one's decision, so its dead letter is closed at
    once.
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

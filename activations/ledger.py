"""What was acknowledged, in PostgreSQL: the memory that makes a sync send only what changed, also after a crash.

Schema `activation` of the database `ledger`: `sent`, `rejected`, `batches`, `row_log`, `in_flight`, `holds` and
`group_sizes`, explained in `ledger.sql`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from activations import buckets
from activations.base import DOCUMENT, HASH, KEY, KIND, Batch, Delivery, Kind, Operation, Rejection
from activations.columns import copy_in, copy_out
from activations.declaration import Sync
from searchflow import services
from searchflow.errors import BusyError, ServiceError
from searchflow.settings import Settings

LOCK = (0x5EA7C4F1, 6)
"""Of PostgreSQL's advisory locks; the database belongs to one home, so the lock does too."""
LOCK_WAIT = 1.0
"""Seconds. The session of a killed run takes a moment to end."""

SIZES_KEPT = 30

SETUP = Path(__file__).with_suffix(".sql")
"""The tables, each with its meaning."""

# Batches are looked up by key, whatever the planner believes: right after a first run it has no statistics, and a join
# would read the whole ledger for each batch.
TAKEN = "ARRAY(SELECT key FROM acknowledged WHERE reason IS NULL)"
BEFORE = (
    "LEFT JOIN LATERAL (SELECT row, hash FROM activation.sent WHERE sync = %(sync)s AND key = a.key LIMIT 1) b ON true"
)
NOTHING_BEFORE = "CROSS JOIN (SELECT NULL::text AS row, NULL::uuid AS hash) b"
WORK_TABLE = """
CREATE TEMP TABLE acknowledged (
    key text NOT NULL, kind text NOT NULL, hash uuid, row text, reason text) ON COMMIT DELETE ROWS
"""


def utc(moment: datetime) -> datetime:
    """UTC without a zone, as every table of ours holds it."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def make_readable(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let SQL of the warehouse read the ledger as `ledger.activation.*`; people ask `sync_rows`."""
    with Ledger(settings) as ledger:
        ledger.prepare()
    attach(connection, settings)


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """The same when its tables are known to be there."""
    location = services.postgres_dsn(settings, "ledger").replace("'", "''")
    connection.execute(f"ATTACH IF NOT EXISTS '{location}' AS ledger (TYPE postgres, READ_ONLY)")


class Ledger:
    """One session with the ledger. Holds the lock of the home while it writes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        name = f"searchflow activate, process {os.getpid()}"
        try:
            self._connection = psycopg.connect(
                services.postgres_dsn(settings, "ledger"), autocommit=True, application_name=name
            )
        except psycopg.OperationalError:
            services.postgres.check(settings)  # says it better when the server is the reason
            raise ServiceError("The ledger database cannot be opened. Run `searchflow up`.") from None
        self._made = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def prepare(self) -> None:
        """Make the tables, or bring those of an earlier version up to date."""
        setup = SETUP.read_bytes()
        version = hashlib.sha256(setup).hexdigest()[:16]
        row = self._connection.execute(
            "SELECT obj_description(to_regnamespace('activation'), 'pg_namespace')"
        ).fetchone()
        if row is None or row[0] != version:
            with self._connection.transaction():  # CREATE ... IF NOT EXISTS may race with another process
                self._connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", [LOCK[0]])
                self._connection.execute(setup)
                self._connection.execute(f"COMMENT ON SCHEMA activation IS '{version}'")

    def lock(self, sleep: Callable[[float], None]) -> None:
        """One sync at a time per home; the lock ends with the session, however that ends.

        Raises:
            BusyError: somebody else holds it.
        """
        waited, step = 0.0, 0.1
        while not self._try_lock():
            if waited >= LOCK_WAIT:
                raise BusyError(
                    f"Another sync of this home is running ({self._holder()}). Wait until it ends, then run again."
                )
            sleep(step)
            waited += step

    def _try_lock(self) -> bool:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", LOCK).fetchone()
        return bool(row and row[0])

    def _holder(self) -> str:
        row = self._connection.execute(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND classid = %s::bigint::oid AND objid = %s AND granted",
            LOCK,
        ).fetchone()
        return str(row[0]) if row else "another process"

    def rows(self, sync: Sync, keys: Sequence[str]) -> dict[str, str | None]:
        """What was last sent for some keys, as JSON texts; null where the ledger may not keep it."""
        found = self._connection.execute(
            "SELECT key, row FROM activation.sent WHERE sync = %s AND key = ANY(%s)", [sync.name, list(keys)]
        )
        return dict(found.fetchall())

    def digests(self, sync: Sync) -> pa.Table:
        """`bucket`, `rows` and `digest` of what was sent, as texts."""
        with self._connection.cursor() as cursor:
            return copy_out(cursor, buckets.ledger_digests(sync.name), ["bucket", "rows", "digest"])

    def last_writes(self, sync: Sync, keys: pa.Table) -> pa.Table:
        """Of each key (column `key`) its last acknowledged row: `key`, `sequence`, `kind`, `before_hash`, as texts."""
        columns = ["key", "sequence", "kind", "before_hash"]
        query = sql.SQL(
            "SELECT DISTINCT ON (key) {} FROM activation.row_log JOIN asked USING (key) "
            "WHERE sync = {} AND status = 'sent' AND sequence IS NOT NULL ORDER BY key, sequence DESC"
        ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Literal(sync.name))
        with self._writing() as cursor:
            cursor.execute("CREATE TEMP TABLE asked (key text) ON COMMIT DROP")
            copy_in(cursor, "asked", keys)
            return copy_out(cursor, query, columns)

    def unseen_rows(self, sync: Sync, sequences: Sequence[int]) -> dict[int, int]:
        """Of batches that no reconciliation has seen: how many of their rows no later batch has touched."""
        found = self._connection.execute(
            "SELECT l.sequence, count(*) FROM activation.batches b "
            "JOIN activation.row_log l ON l.run_id = b.run_id AND l.sync = b.sync AND l.sequence = b.sequence "
            "LEFT JOIN activation.sent s ON s.sync = l.sync AND s.key = l.key "
            "WHERE b.sync = %s AND b.sequence = ANY(%s) AND b.seen_at IS NULL AND l.status = 'sent' "
            "AND l.kind <> 'refreshed' "
            "AND CASE WHEN l.kind = 'removed' THEN s.key IS NULL ELSE s.sequence = l.sequence END GROUP BY l.sequence",
            [sync.name, list(sequences)],
        )
        return dict(found.fetchall())

    def mark_seen(self, sync: Sync, now: datetime, lost: Sequence[int]) -> None:
        """A reconciliation found every batch there but the lost ones."""
        self._connection.execute(
            "UPDATE activation.batches SET seen_at = %s WHERE sync = %s AND seen_at IS NULL AND sequence <> ALL(%s)",
            [utc(now), sync.name, list(lost)],
        )

    def hold(self, sync: Sync, run_id: str, by: str, now: datetime) -> None:
        """Let the sync wait for an approval, because this run of it was undone."""
        self._connection.execute(
            "INSERT INTO activation.holds VALUES (%s, %s, %s, %s) ON CONFLICT (sync) DO UPDATE "
            "SET run_id = excluded.run_id, held_by = excluded.held_by, held_at = excluded.held_at",
            [sync.name, run_id, by, utc(now)],
        )

    def on_hold(self, sync: Sync) -> str:
        """Why it waits; empty when it does not."""
        row = self._connection.execute(
            "SELECT run_id, held_by FROM activation.holds WHERE sync = %s", [sync.name]
        ).fetchone()
        return f"{row[1]} undid its run {row[0]}, and it is on hold since" if row else ""

    def release(self, sync: Sync) -> None:
        """It was approved."""
        self._connection.execute("DELETE FROM activation.holds WHERE sync = %s", [sync.name])

    def size_history(self, sync: Sync) -> list[dict[str, int]]:
        """Rows of each group after the last runs that sent something, the newest first."""
        rows = self._connection.execute(
            "SELECT sequence, value, rows FROM activation.group_sizes WHERE sync = %s ORDER BY sequence DESC",
            [sync.name],
        ).fetchall()
        found: dict[int, dict[str, int]] = {}
        for sequence, value, count in rows:
            found.setdefault(sequence, {})[value] = count
        return list(found.values())

    def keep_sizes(self, sync: Sync, sizes: Mapping[str, int]) -> None:
        """Note the groups as they are at the destination now; the last `SIZES_KEPT` runs stay."""
        if not sizes:
            return
        with self._writing() as cursor:
            cursor.execute(
                "INSERT INTO activation.group_sizes SELECT %s, %s, value, rows "
                "FROM unnest(%s::text[], %s::bigint[]) AS sizes (value, rows)",
                [sync.name, self.next_sequence(sync), list(sizes), list(sizes.values())],
            )
            cursor.execute(
                "DELETE FROM activation.group_sizes WHERE sync = %s AND sequence NOT IN ("
                "SELECT DISTINCT sequence FROM activation.group_sizes WHERE sync = %s ORDER BY sequence DESC LIMIT %s)",
                [sync.name, sync.name, SIZES_KEPT],
            )

    def set_out(self, sync: Sync, run_id: str, sequence: int, keys: pa.Table) -> None:
        """Note what a run is about to write (column `key`) from its batch `sequence` on, before it writes any of it."""
        for name, value in {"sync": sync.name, "run_id": run_id, "sequence": str(sequence)}.items():
            keys = keys.append_column(name, pa.repeat(value, keys.num_rows))
        with self._writing() as cursor:
            copy_in(cursor, "in_flight", keys, schema="activation")

    def arrived(self, sync: Sync, run_id: str, *, all_runs: bool) -> None:
        """Forget it: every row has its record. `all_runs`: also what killed runs left, because this one wrote that again."""
        with self._writing() as cursor:
            cursor.execute(
                "DELETE FROM activation.in_flight WHERE sync = %s AND (%s OR run_id = %s)",
                [sync.name, all_runs, run_id],
            )

    def next_sequence(self, sync: Sync) -> int:
        """The number of the sync's next batch."""
        row = self._connection.execute(
            "SELECT coalesce(max(sequence) + 1, 0) FROM activation.batches WHERE sync = %s", [sync.name]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def acknowledge(self, sync: Sync, run_id: str, batch: Batch, delivery: Delivery) -> None:
        """Record a delivered batch, all of it or nothing.

        Raises:
            ServiceError: the ledger is gone; the next run repeats this batch, which does no harm.
        """
        reasons = {rejection.key: rejection.reason for rejection in delivery.rejections}
        counts = (len(batch) - len(reasons), len(reasons), delivery.repeated)
        with self._writing() as cursor:
            # Not waited for on the disk: a record that a crash of the server loses leaves its rows in flight, and what is
            # sent once is recognised by its key. The run's last word (`arrived`) waits for all of it.
            cursor.execute("SET LOCAL synchronous_commit = off")
            self._stage(cursor, sync, batch, reasons)
            self._apply(cursor, sync, run_id, batch)
            cursor.execute(
                "INSERT INTO activation.batches (sync, sequence, run_id, operation, sent, rejected, repeated, "
                "acknowledged_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [sync.name, batch.sequence, run_id, batch.operation, *counts, utc(batch.now)],
            )

    def reject(
        self, sync: Sync, run_id: str, rejections: Sequence[Rejection], hashes: Sequence[str], now: datetime
    ) -> None:
        """Record rows that were never sent: the plan found what is wrong with them."""
        table = pa.table({KEY: [each.key for each in rejections], HASH: list(hashes)})
        table = table.append_column(KIND, pa.array(["invalid"] * len(rejections)))
        table = table.append_column("reason", pa.array([each.reason for each in rejections]))
        with self._writing() as cursor:
            self._make_work_table(cursor)
            copy_in(cursor, "acknowledged", table.rename_columns(["key", "hash", "kind", "reason"]))
            self._log(cursor, sync, run_id, utc(now), None)

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Cursor]:
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except psycopg.OperationalError:
            raise ServiceError(
                "The ledger stopped answering. Run `searchflow status`, then run the sync again: it continues where "
                "the ledger knows it was."
            ) from None

    def _make_work_table(self, cursor: psycopg.Cursor) -> None:
        if not self._made:
            cursor.execute(WORK_TABLE)
            self._made = True

    def _stage(self, cursor: psycopg.Cursor, sync: Sync, batch: Batch, reasons: dict[str, str]) -> None:
        self._make_work_table(cursor)
        names = {KEY: "key", KIND: "kind"}
        if batch.operation is not Operation.REMOVE:
            names[HASH] = "hash"
            if sync.keeps_rows:
                names[DOCUMENT] = "row"
        rows = batch.table.select(list(names)).rename_columns(list(names.values()))
        if reasons:
            table = pa.table({"key": list(reasons), "reason": list(reasons.values())})
            rows = rows.join(table, "key", join_type="left outer")
        copy_in(cursor, "acknowledged", rows)

    def _apply(self, cursor: psycopg.Cursor, sync: Sync, run_id: str, batch: Batch) -> None:
        at = utc(batch.now)
        self._log(cursor, sync, run_id, at, batch.sequence, new=pc.all(pc.equal(batch.table[KIND], Kind.ADDED)).as_py())
        cursor.execute(f"DELETE FROM activation.rejected WHERE sync = %s AND key = ANY({TAKEN})", [sync.name])
        if batch.operation is Operation.REMOVE:
            cursor.execute(f"DELETE FROM activation.sent WHERE sync = %s AND key = ANY({TAKEN})", [sync.name])
            return
        cursor.execute(
            "INSERT INTO activation.sent (sync, key, hash, row, run_id, sent_at, sequence) "
            "SELECT %s, key, hash, row, %s, %s, %s FROM acknowledged WHERE reason IS NULL "
            "ON CONFLICT (sync, key) DO UPDATE SET hash = excluded.hash, row = excluded.row, run_id = excluded.run_id, "
            "sent_at = excluded.sent_at, sequence = excluded.sequence",
            [sync.name, run_id, at, batch.sequence],
        )

    def _log(
        self, cursor: psycopg.Cursor, sync: Sync, run_id: str, at: datetime, sequence: int | None, *, new: bool = False
    ) -> None:
        """The row log keeps what was there before, so it is written first. `new`: there was nothing of any row."""
        cursor.execute(
            "INSERT INTO activation.row_log (run_id, sync, key, kind, status, reason, before, logged_at, sequence, "
            "before_hash) "
            "SELECT %(run)s, %(sync)s, a.key, a.kind, CASE WHEN a.reason IS NULL THEN 'sent' ELSE 'rejected' END, "
            f"a.reason, b.row, %(at)s, %(sequence)s, b.hash FROM acknowledged a {NOTHING_BEFORE if new else BEFORE}",
            {"run": run_id, "sync": sync.name, "at": at, "sequence": sequence},
        )
        cursor.execute(
            "INSERT INTO activation.rejected SELECT %s, key, hash, reason, %s, %s FROM acknowledged "
            "WHERE reason IS NOT NULL AND hash IS NOT NULL "
            "ON CONFLICT (sync, key, hash) DO UPDATE SET reason = excluded.reason, run_id = excluded.run_id, "
            "rejected_at = excluded.rejected_at",
            [sync.name, run_id, at],
        )

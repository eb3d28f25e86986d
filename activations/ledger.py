"""The ledger of what was acknowledged, in PostgreSQL: the memory that makes a sync send only what changed, also after a
crash.

Schema `activation` of the database `ledger`, explained in `ledger.sql`; `activations.records` writes batches into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from psycopg import sql

from activations import buckets, records
from activations.base import Batch, Delivery, Rejection, utc
from activations.columns import copy_in, copy_out
from activations.declaration import Sync
from activations.session import LedgerSession
from searchflow import services
from searchflow.quoting import literal
from searchflow.services import locks
from searchflow.settings import Settings

SIZES_KEPT = 30


def make_readable(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let SQL of the warehouse read the ledger as `ledger.activation.*`; people ask `sync_rows`."""
    with Ledger(settings) as ledger:
        ledger.prepare()
    attach(connection, settings)


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Attach the ledger to the warehouse's session, when its tables are known to be there."""
    location = literal(services.postgres_dsn(settings, "ledger"))
    connection.execute(f"ATTACH IF NOT EXISTS {location} AS ledger (TYPE postgres, READ_ONLY)")


class Ledger(LedgerSession):
    """One session with the ledger. Holds the lock of the home while it writes: one sync at a time."""

    SCHEMA, SETUP = "activation", Path(__file__).with_suffix(".sql")
    LOCK, PROGRAM = locks.SYNC_DELIVERY, "activate"
    BUSY = "Another sync of this home is running ({holder}). Wait until it ends, then run again."
    GONE = (
        "The ledger stopped answering. Run `searchflow status`, then run the sync again: it continues where the ledger "
        "knows it was."
    )

    def rows(self, sync: Sync, keys: Sequence[str]) -> dict[str, str | None]:
        """Return what was last sent for some keys, as JSON texts; null where the ledger may not keep it."""
        found = self._connection.execute(
            "SELECT key, row FROM activation.sent WHERE sync = %s AND key = ANY(%s)", [sync.name, list(keys)]
        )
        return dict(found.fetchall())

    def digests(self, sync: Sync) -> pa.Table:
        """Return `bucket`, `rows` and `digest` of what was sent, as texts."""
        with self._connection.cursor() as cursor:
            return copy_out(cursor, buckets.ledger_digests(sync.name), ["bucket", "rows", "digest"])

    def last_writes(self, sync: Sync, keys: pa.Table) -> pa.Table:
        """Return each key's last acknowledged row: `key`, `sequence`, `kind`, `before_hash`, as texts.

        `keys` has the column `key`.
        """
        columns = ["key", "sequence", "kind", "before_hash"]
        query = sql.SQL(
            "SELECT DISTINCT ON (key) {} FROM activation.all_rows JOIN asked USING (key) "
            "WHERE sync = {} AND status = 'sent' AND sequence IS NOT NULL ORDER BY key, sequence DESC"
        ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Literal(sync.name))
        with self._writing() as cursor:
            cursor.execute("CREATE TEMP TABLE asked (key text) ON COMMIT DROP")
            copy_in(cursor, "asked", keys)
            return copy_out(cursor, query, columns)

    def unseen_rows(self, sync: Sync, sequences: Sequence[int]) -> dict[int, int]:
        """Return, for batches that no reconciliation has seen, how many of their rows no later batch has touched."""
        found = self._connection.execute(
            "SELECT l.sequence, count(*) FROM activation.batches b "
            "JOIN activation.all_rows l ON l.run_id = b.run_id AND l.sync = b.sync AND l.sequence = b.sequence "
            "LEFT JOIN activation.sent s ON s.sync = l.sync AND s.key = l.key "
            "WHERE b.sync = %s AND b.sequence = ANY(%s) AND b.seen_at IS NULL AND l.status = 'sent' "
            "AND l.kind <> 'refreshed' "
            "AND CASE WHEN l.kind = 'removed' THEN s.key IS NULL ELSE s.sequence = l.sequence END GROUP BY l.sequence",
            [sync.name, list(sequences)],
        )
        return dict(found.fetchall())

    def mark_seen(self, sync: Sync, now: datetime, lost: Sequence[int]) -> None:
        """Note that a reconciliation found every batch there but the lost ones."""
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
        """Return why the sync waits for an approval; empty when it does not."""
        row = self._connection.execute(
            "SELECT run_id, held_by FROM activation.holds WHERE sync = %s", [sync.name]
        ).fetchone()
        return f"{row[1]} undid its run {row[0]}, and it is on hold since" if row else ""

    def release(self, sync: Sync) -> None:
        """Let the sync run again, because a user approved it."""
        self._connection.execute("DELETE FROM activation.holds WHERE sync = %s", [sync.name])

    def size_history(self, sync: Sync) -> list[dict[str, int]]:
        """Return the rows of each group after the last runs that sent something, the newest first."""
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

    def set_out(self, sync: Sync, run_id: str, batches: pa.Table) -> None:
        """Note what a run is about to write (`sequence` and `keys` of each batch) before it writes any of it."""
        for name, value in {"sync": sync.name, "run_id": run_id}.items():
            batches = batches.append_column(name, pa.repeat(value, batches.num_rows))
        with self._writing() as cursor:
            copy_in(cursor, "in_flight", batches, schema="activation")

    def arrived(self, sync: Sync, run_id: str, *, all_runs: bool) -> None:
        """Forget what a run was about to write: every row has its record.

        `all_runs`: also what killed runs left, because this one wrote that again.
        """
        with self._writing() as cursor:
            cursor.execute(
                "DELETE FROM activation.in_flight WHERE sync = %s AND (%s OR run_id = %s)",
                [sync.name, all_runs, run_id],
            )

    def keep_from(self, moment: datetime) -> None:
        """Set the moment before which runs leave the log. It never moves back."""
        self._connection.execute(
            "INSERT INTO activation.horizon AS h (kept_from) VALUES (%s) ON CONFLICT (one) DO UPDATE "
            "SET kept_from = greatest(h.kept_from, excluded.kept_from)",
            [utc(moment)],
        )

    def kept_from(self) -> datetime | None:
        """Return since when the log is complete; None: since the beginning."""
        found: datetime | None = self._one("SELECT kept_from FROM activation.horizon")
        return found

    def in_portions(self, change: str, where: str, facts: Mapping[str, object], portion: int) -> int:
        """Change or delete rows (`old` in the condition) in short transactions that wait for no other process. Return
        how many."""
        table = next(word for word in change.split() if word.startswith("activation."))
        statement = (
            f"{change} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} AS old WHERE {where} "
            f"LIMIT {portion} FOR UPDATE SKIP LOCKED))"
        )
        changed = 0
        with self._connection.cursor() as cursor:
            while cursor.execute(statement, facts).rowcount:
                changed += cursor.rowcount
        return changed

    def last_sent(self, sync: Sync, user: str) -> list[dict[str, Any]]:
        """Return what a destination acknowledged of a user and still counts as sent.

        A key is the user, or begins with the user.
        """
        names = ("key", "sent_at", "run_id", "batch", "kind", "log")
        mine = "key = %(user)s" if sync.key == "user_id" else "starts_with(key, %(user)s || ':')"
        found = self._connection.execute(
            "SELECT key, sent_at, run_id, sequence, kind, CASE WHEN sent_at < kept_from THEN 'no longer kept' END "
            f"FROM activation.sent LEFT JOIN activation.horizon ON true WHERE sync = %(sync)s AND {mine} "
            "ORDER BY sent_at, key",
            {"user": user, "sync": sync.name},
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def next_sequence(self, sync: Sync) -> int:
        """Return the number of the sync's next batch."""
        return int(
            self._one("SELECT coalesce(max(sequence) + 1, 0) FROM activation.batches WHERE sync = %s", sync.name)
        )

    def acknowledge(self, sync: Sync, run_id: str, batch: Batch, delivery: Delivery) -> None:
        """Record a delivered batch, all of it or nothing.

        Raises:
            ServiceError: the ledger is gone; the next run repeats this batch, which does no harm.
        """
        with self._writing() as cursor:
            # Not waited for on the disk: a record that a crash of the server loses leaves its rows in flight, and what is
            # sent once is recognised by its key. The run's last word (`arrived`) waits for all of it.
            cursor.execute("SET LOCAL synchronous_commit = off")
            records.write_batch(cursor, sync, run_id, batch, delivery)

    def reject(
        self, sync: Sync, run_id: str, rejections: Sequence[Rejection], hashes: Sequence[str], now: datetime
    ) -> None:
        """Record rows that were never sent: the plan found what is wrong with them."""
        with self._writing() as cursor:
            records.write_invalid(cursor, sync, run_id, rejections, hashes, now)

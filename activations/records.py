"""Records of a delivered batch in the ledger, written in one transaction: set-wise, and no more than it needs.

A row of `sent` holds the last write of a key together with that write's entry in the log; the next write moves the entry
to `row_log`. So a batch in which all is new, as in a first run, is one COPY into one table. Other batches are staged in
a temporary table and written by statements.

Batches are looked up by key, whatever the planner believes: right after a first run it has no statistics, and a join
would read the whole ledger for each batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from activations.base import DOCUMENT, HASH, KEY, KIND, Batch, Delivery, Kind, Operation, Rejection, utc
from activations.columns import copy_in
from activations.declaration import Sync

STAGED = "acknowledged"
WORK_TABLE = f"""
CREATE TEMP TABLE IF NOT EXISTS {STAGED} (
    key text NOT NULL, kind text NOT NULL, hash uuid, row text, reason text) ON COMMIT DELETE ROWS
"""
TAKEN = f"ARRAY(SELECT key FROM {STAGED} WHERE reason IS NULL)"
LOG = f"""
INSERT INTO activation.row_log (run_id, sync, key, kind, status, reason, before, logged_at, sequence, before_hash)
SELECT %(run)s, %(sync)s, a.key, a.kind, CASE WHEN a.reason IS NULL THEN 'sent' ELSE 'rejected' END, a.reason, b.row,
    %(at)s, %(sequence)s, b.hash
FROM {STAGED} a LEFT JOIN LATERAL (
    SELECT row, hash FROM activation.sent WHERE sync = %(sync)s AND key = a.key LIMIT 1) b ON true"""
REFUSED = " WHERE a.reason IS NOT NULL"
SUPERSEDE = f"""
INSERT INTO activation.row_log (run_id, sync, key, kind, status, before, logged_at, sequence, before_hash)
SELECT run_id, sync, key, kind, 'sent', before, sent_at, sequence, before_hash FROM activation.sent
WHERE sync = %(sync)s AND key = ANY({TAKEN}) AND kind IS NOT NULL"""
SET = f"""
INSERT INTO activation.sent AS s (sync, key, hash, row, run_id, sent_at, sequence, kind)
SELECT %(sync)s, key, hash, row, %(run)s, %(at)s, %(sequence)s, kind FROM {STAGED} WHERE reason IS NULL
ON CONFLICT (sync, key) DO UPDATE SET hash = excluded.hash, row = excluded.row, run_id = excluded.run_id,
    sent_at = excluded.sent_at, sequence = excluded.sequence, kind = excluded.kind, before = s.row, before_hash = s.hash"""
UNSET = f"DELETE FROM activation.sent WHERE sync = %(sync)s AND key = ANY({TAKEN})"
REJECT = f"""
INSERT INTO activation.rejected SELECT %(sync)s, key, hash, reason, %(run)s, %(at)s FROM {STAGED}
WHERE reason IS NOT NULL AND hash IS NOT NULL
ON CONFLICT (sync, key, hash) DO UPDATE SET reason = excluded.reason, run_id = excluded.run_id,
    rejected_at = excluded.rejected_at"""


def write_batch(cursor: psycopg.Cursor, sync: Sync, run_id: str, batch: Batch, delivery: Delivery) -> None:
    """Record what became of a batch."""
    reasons = {rejection.key: rejection.reason for rejection in delivery.rejections}
    facts = {"run": run_id, "sync": sync.name, "at": utc(batch.now), "sequence": batch.sequence}
    if not reasons and batch.has_documents and pc.all(pc.equal(batch.table[KIND], Kind.ADDED)).as_py():
        _copy_new(cursor, sync, batch, facts)
    else:
        _stage(cursor, _rows(sync, batch), reasons)
        _write_staged(cursor, batch, facts, refused=bool(reasons))
    _forget_rejections(cursor, sync, batch, reasons)
    cursor.execute(
        "INSERT INTO activation.batches (sync, sequence, run_id, operation, sent, rejected, repeated, acknowledged_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [sync.name, batch.sequence, run_id, batch.operation, len(batch) - len(reasons), len(reasons),
         delivery.repeated, facts["at"]],
    )  # fmt: skip


def write_invalid(
    cursor: psycopg.Cursor,
    sync: Sync,
    run_id: str,
    rejections: Sequence[Rejection],
    hashes: Sequence[str],
    now: datetime,
) -> None:
    """Record rows that were never sent: the plan found what is wrong with them."""
    rows = pa.table({"key": [each.key for each in rejections], "hash": list(hashes)})
    rows = rows.append_column("kind", pa.repeat("invalid", len(rejections)))
    rows = rows.append_column("reason", pa.array([each.reason for each in rejections]))  # a key may be there twice
    _stage(cursor, rows, {})
    facts = {"run": run_id, "sync": sync.name, "at": utc(now), "sequence": None}
    cursor.execute(LOG, facts)
    cursor.execute(REJECT, facts)


def _rows(sync: Sync, batch: Batch) -> pa.Table:
    """Return what the ledger keeps of a batch, under the ledger's own names."""
    names = {KEY: "key", KIND: "kind"}
    if batch.has_documents:
        names[HASH] = "hash"
        if sync.keeps_rows:
            names[DOCUMENT] = "row"
    return batch.table.select(list(names)).rename_columns(list(names.values()))


def _copy_new(cursor: psycopg.Cursor, sync: Sync, batch: Batch, facts: Mapping[str, object]) -> None:
    """Record a batch of which the ledger had no row, and of which all rows were taken."""
    rows = _rows(sync, batch)
    for name, fact in (("sync", "sync"), ("run_id", "run"), ("sent_at", "at"), ("sequence", "sequence")):
        rows = rows.append_column(name, pa.repeat(str(facts[fact]), rows.num_rows))
    copy_in(cursor, "sent", rows, schema="activation")


def _stage(cursor: psycopg.Cursor, rows: pa.Table, reasons: Mapping[str, str]) -> None:
    cursor.execute(WORK_TABLE)
    if reasons:
        refused = pa.table({"key": list(reasons), "reason": list(reasons.values())})
        rows = rows.join(refused, "key", join_type="left outer")
    copy_in(cursor, STAGED, rows)


def _write_staged(cursor: psycopg.Cursor, batch: Batch, facts: Mapping[str, object], *, refused: bool) -> None:
    """Record a staged batch. The log keeps what was there before, so it is written first."""
    removes = batch.operation is Operation.REMOVE
    if removes or refused:
        cursor.execute(LOG if removes else LOG + REFUSED, facts)
    cursor.execute(SUPERSEDE, facts)
    cursor.execute(UNSET if removes else SET, facts)
    if refused:
        cursor.execute(REJECT, facts)


def _forget_rejections(cursor: psycopg.Cursor, sync: Sync, batch: Batch, reasons: Mapping[str, str]) -> None:
    """Delete rejections of rows that were taken now. Most often there are none, and asking is cheaper than naming
    keys."""
    cursor.execute("SELECT FROM activation.rejected WHERE sync = %s LIMIT 1", [sync.name])
    if cursor.rowcount:
        taken = [key for key in batch.keys if key not in reasons]
        cursor.execute("DELETE FROM activation.rejected WHERE sync = %s AND key = ANY(%s)", [sync.name, taken])

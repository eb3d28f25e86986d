"""Closing dead letters: the mark says who closed them, when and how. The commit's message brings the same facts into
the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import duckdb

from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.ingestion import tombstones
from searchflow.ingestion.commit import in_transaction
from searchflow.ingestion.dead_letters import letters
from searchflow.settings import Settings


def discard(
    settings: Settings, selection: letters.Selection, *, why: str, clock: Callable[[], datetime], actor: str
) -> int:
    """Close open dead letters without storing their events. The bytes stay, and `why` is kept with them. Return how
    many.
    """
    if not why.strip():
        raise UsageError("Say why the dead letters are discarded: --why 'test traffic of 3 May'.")

    def write() -> int:
        chosen = letters.ids(connection, selection)
        if chosen:
            mark(connection, chosen, "discarded", clock(), actor, why)
            sign(connection, actor, f"{len(chosen)} dead letters discarded ({selection.text()}): {why}")
        return len(chosen)

    with warehouse.connect(settings) as connection:
        return in_transaction(connection, write)


def mark(
    connection: duckdb.DuckDBPyConnection,
    chosen: Sequence[str],
    status: str,
    stamp: datetime,
    actor: str,
    resolution: str,
) -> None:
    """Mark dead letters as closed, inside a transaction."""
    connection.execute(
        "UPDATE raw.dead_letters SET status = ?, resolved_at = ?, resolved_by = ?, resolution = ? "
        "WHERE status = 'open' AND dead_letter_id IN (SELECT unnest(?))",
        [status, stamp.replace(tzinfo=None), actor, resolution, list(chosen)],
    )


def blank(connection: duckdb.DuckDBPyConnection, chosen: Sequence[str], stamp: datetime) -> None:
    """Remove the bytes of dead letters that name a forgotten person, inside a transaction. The dead letters stay
    counted.
    """
    connection.execute(
        "UPDATE raw.dead_letters SET raw_payload = ''::BLOB, reason_code = $code, reason = $why, "
        "status = CASE status WHEN 'open' THEN 'discarded' ELSE status END, "
        "resolved_at = coalesce(resolved_at, $stamp), resolved_by = coalesce(resolved_by, 'erasure') "
        "WHERE dead_letter_id IN (SELECT unnest($chosen))",
        {
            "code": tombstones.ERASED,
            "why": tombstones.WHY,
            "stamp": stamp.replace(tzinfo=None),
            "chosen": list(chosen),
        },
    )


def sign(connection: duckdb.DuckDBPyConnection, actor: str, message: str) -> None:
    """Give the transaction a message. The audit log's trigger copies it, in the same transaction of the catalog."""
    connection.execute(f"CALL ducklake_set_commit_message('{warehouse.CATALOG}', ?, ?)", [actor, message])

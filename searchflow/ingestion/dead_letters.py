"""Dead letters: what was refused, why, and the way back.

A replay runs the same validation as ingestion. What passes is stored (at most once) and its letter marked in the same
transaction; what still fails stays open.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from searchflow import warehouse
from searchflow.errors import NotFoundError, UsageError
from searchflow.events import REASON_CODES
from searchflow.ingestion import checks
from searchflow.ingestion import commit as committing
from searchflow.ingestion.source import SourceBatch
from searchflow.ingestion.worker import limits_of
from searchflow.ops import record
from searchflow.settings import Settings

STATUSES = ("open", "replayed", "discarded")


@dataclass(frozen=True)
class LetterGroup:
    """Letters that were refused for the same reason."""

    reason_code: str
    event_type: str | None
    letters: int
    first_received: datetime
    last_received: datetime
    example_id: str
    example_reason: str


@dataclass(frozen=True)
class ReplayResult:
    """What a replay did: letters tried, events stored, letters that were duplicates by now, letters still refused."""

    tried: int
    stored: int
    duplicates: int
    refused: int
    days: list[date]


def groups(connection: duckdb.DuckDBPyConnection, status: str = "open") -> list[LetterGroup]:
    """Letters by reason and type, the most frequent first."""
    found = connection.execute(
        """
        SELECT reason_code, event_type, count(*), min(received_at), max(received_at), min(dead_letter_id),
               min_by(reason, dead_letter_id)
        FROM raw.dead_letters WHERE status = ? GROUP BY ALL ORDER BY 3 DESC, 1, 2
        """,
        [status],
    ).fetchall()
    return [LetterGroup(*row) for row in found]


def show(connection: duckdb.DuckDBPyConnection, letter_id: str) -> dict[str, Any]:
    """One letter, by its id or the beginning of it. `raw_payload` is bytes: escape it before you print it."""
    cursor = connection.execute(
        "SELECT * FROM raw.dead_letters WHERE starts_with(dead_letter_id, ?) ORDER BY dead_letter_id LIMIT 2",
        [letter_id],
    )
    names = [column[0] for column in cursor.description or []]
    rows = cursor.fetchall()
    if not rows:
        raise NotFoundError("dead letter", letter_id, [], "`searchflow dlq list` shows an example id of each reason.")
    if len(rows) > 1:
        raise UsageError(f"More than one dead letter begins with {letter_id!r}. Give more of its id.")
    return dict(zip(names, rows[0], strict=True))


def printable(raw: bytes, limit: int = 4000) -> str:
    """Bytes as text that is safe on a terminal: every control and non-ASCII byte is escaped."""
    shown = raw[:limit].decode("ascii", errors="backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return shown + (f" … ({len(raw) - limit:,} more bytes)" if len(raw) > limit else "")


def _selection(reason: str | None, event_type: str | None, letter_id: str | None) -> tuple[str, list[Any]]:
    if reason is not None and reason not in REASON_CODES:
        raise NotFoundError("reason code", reason, REASON_CODES)
    conditions, values = ["status = 'open'"], []
    for condition, value in (
        ("reason_code = ?", reason),
        ("event_type = ?", event_type),
        ("starts_with(dead_letter_id, ?)", letter_id),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return " AND ".join(conditions), values


class _Letters:
    """Letters as a source, for the columns that say where a row came from."""

    shard = "replay"
    key = name = "dead_letters"
    event_type: str | None = None


def replay(
    settings: Settings,
    *,
    now: datetime,
    reason: str | None = None,
    event_type: str | None = None,
    letter_id: str | None = None,
    actor: str = "searchflow",
) -> ReplayResult:
    """Validate open letters again and store those that pass now."""
    condition, values = _selection(reason, event_type, letter_id)
    with warehouse.connect(settings) as connection:
        letters = connection.execute(
            f"SELECT dead_letter_id, raw_payload FROM raw.dead_letters WHERE {condition} ORDER BY dead_letter_id",
            values,
        ).fetchall()
        if not letters:
            return ReplayResult(0, 0, 0, 0, [])
        batch = SourceBatch([bytes(raw) for _, raw in letters], [str(letter) for letter, _ in letters], "")
        prepared = checks.prepare(connection, batch, None, now, limits_of(settings))
        ids = [str(letter) for letter, _ in letters]
        return committing.in_transaction(connection, lambda: _store(connection, prepared, ids, now, actor))


def _store(
    connection: duckdb.DuckDBPyConnection,
    prepared: checks.Prepared,
    ids: list[str],
    now: datetime,
    actor: str,
) -> ReplayResult:
    batch_id, stamp = str(uuid.uuid4()), now.replace(tzinfo=None)
    stored = duplicates = 0
    days: set[date] = set()
    conflicting: set[int] = set()
    for kind, table in prepared.columns.items():
        connection.execute(
            f"UPDATE ops.position_{kind} SET version = version + 1, batch_id = ? WHERE source = ?",
            [batch_id, record.GUARD],
        )
        fresh, repeated, conflicts = committing.new_rows(connection, kind, table)
        conflicting |= set(conflicts)
        duplicates += repeated
        if len(fresh):
            days |= set(committing.insert(connection, _Letters.name, prepared, kind, fresh, batch_id, stamp))
            stored += len(fresh)
    refused = {place for place, _, _ in prepared.rejected} | {ids[index] for index in conflicting}
    resolved = [letter for letter in ids if letter not in refused]
    _mark(connection, resolved, "replayed", stamp, actor)
    record.rows(
        connection,
        "ops.ingestion_batches",
        [
            {
                "batch_id": batch_id,
                "shard": _Letters.shard,
                "source": _Letters.name,
                "started_at": stamp,
                "committed_at": stamp,
                "received": 0,
                "stored": stored,
                "duplicates": duplicates,
                "dead_letters": 0,
                "late": stored,
                "touched_days": sorted(days),
            }
        ],
    )
    _audit(connection, "dead letters replayed", len(resolved), stamp, actor)
    return ReplayResult(len(ids), stored, duplicates, len(refused), sorted(days))


def discard(
    settings: Settings,
    *,
    now: datetime,
    why: str,
    reason: str | None = None,
    event_type: str | None = None,
    letter_id: str | None = None,
    actor: str = "searchflow",
) -> int:
    """Close open letters without storing them; the bytes stay. `why` is kept. Returns how many."""
    if not why.strip():
        raise UsageError("Say why the letters are discarded: --why 'test traffic of 3 May'.")
    condition, values = _selection(reason, event_type, letter_id)
    stamp = now.replace(tzinfo=None)
    with warehouse.connect(settings) as connection, warehouse.transaction(connection):
        ids = [
            str(row[0])
            for row in connection.execute(
                f"SELECT dead_letter_id FROM raw.dead_letters WHERE {condition}", values
            ).fetchall()
        ]
        _mark(connection, ids, "discarded", stamp, actor)
        _audit(connection, f"dead letters discarded: {why}", len(ids), stamp, actor)
    return len(ids)


def _mark(connection: duckdb.DuckDBPyConnection, ids: Sequence[str], status: str, stamp: datetime, actor: str) -> None:
    if ids:
        connection.execute(
            "UPDATE raw.dead_letters SET status = ?, resolved_at = ?, resolved_by = ? "
            "WHERE dead_letter_id IN (SELECT unnest(?))",
            [status, stamp, actor, list(ids)],
        )


def _audit(connection: duckdb.DuckDBPyConnection, detail: str, rows: int, stamp: datetime, actor: str) -> None:
    if rows:
        record.rows(
            connection,
            "ops.audit_log",
            [
                {
                    "audit_id": str(uuid.uuid4()),
                    "logged_at": stamp,
                    "actor": actor,
                    "action": "write",
                    "object": "raw.dead_letters",
                    "rows": rows,
                    "detail": detail,
                }
            ],
        )

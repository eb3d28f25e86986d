"""Positions: how far each source was read, and the rows by which writers of one event type exclude each other.

Each shard has a small table of positions, and every transaction that writes events of a type updates that type's table.
DuckLake refuses to commit when another transaction has changed the same rows since ours began, so two workers can
never both move a position, nor both decide that an event is new. One statement does all that a commit has to change
there: each costs about as much as the rows of a small batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from searchflow.errors import FencedError
from searchflow.events import EVENT_CLASSES
from searchflow.fetching import first_row
from searchflow.ingestion.source import Source
from searchflow.ops.record import GUARD

MOVED = """
    UPDATE ops.position_{shard} SET version = version + 1, batch_id = $batch,
        position = CASE WHEN source = $key THEN $position ELSE position END,
        updated_at = CASE WHEN source = $key THEN $stamp ELSE updated_at END,
        watermark = CASE WHEN source = '{guard}' THEN greatest(watermark, $newest) ELSE watermark END
    WHERE source IN ('{guard}', $key)
"""


def position(connection: duckdb.DuckDBPyConnection, shard: str, key: str) -> str | None:
    """Return the stored position of a source, or None before its first commit."""
    row = first_row(connection.execute(f"SELECT position FROM ops.position_{shard} WHERE source = ?", [key]))
    return None if row is None else str(row[0])


def positions(connection: duckdb.DuckDBPyConnection, shard: str) -> list[tuple[str, str]]:
    """Return all stored positions of a shard: (key, position)."""
    found = connection.execute(
        f"SELECT source, position FROM ops.position_{shard} WHERE source <> '{GUARD}'"
    ).fetchall()
    return [(str(key), str(text)) for key, text in found]


@dataclass(frozen=True)
class Guard:
    """A guard row as one snapshot has it: how often it was moved, by which commit last, and the newest event so far."""

    version: int
    batch_id: str
    watermark: datetime | None


def read_guard(connection: duckdb.DuckDBPyConnection, event_type: str) -> Guard:
    """Return the guard of an event type."""
    row = first_row(
        connection.execute(
            f"SELECT version, batch_id, watermark FROM ops.position_{event_type} WHERE source = '{GUARD}'"
        )
    )
    assert row is not None
    return Guard(*row)


Watermarks = Mapping[str, datetime | None]
"""Event type -> its newest event so far."""


def watermarks(connection: duckdb.DuckDBPyConnection) -> Watermarks:
    """Return the watermark of every event type as it is now."""
    return {event_type: read_guard(connection, event_type).watermark for event_type in EVENT_CLASSES}


@dataclass(frozen=True)
class SourcePlace:
    """The position at which a source stood when its transaction began, and the guard of its shard."""

    source: Source
    position: str | None
    guard: Guard


def look(connection: duckdb.DuckDBPyConnection, source: Source, expected: str | None) -> SourcePlace:
    """Compare the stored position with the expected one: the first step of a transaction that moves a position.

    Raises:
        FencedError: the stored position is no longer `expected`.
    """
    rows = connection.execute(
        f"SELECT source, position, version, batch_id, watermark FROM ops.position_{source.shard} "
        f"WHERE source IN ('{GUARD}', ?)",
        [source.key],
    ).fetchall()
    by_key = {str(key): (place, Guard(*guard)) for key, place, *guard in rows}
    stored = by_key[source.key][0] if source.key in by_key else None
    if stored != expected:
        raise FencedError(
            f"Another worker moved {source.name} from {expected or 'its start'} to {stored}. This one stops; nothing "
            "was lost or counted twice. Run one worker a shard."
        )
    return SourcePlace(source, stored, by_key[GUARD][1])


def move(
    connection: duckdb.DuckDBPyConnection,
    place: SourcePlace,
    position: str,
    newest: Mapping[str, datetime | None],
    batch_id: str,
    stamp: datetime,
) -> None:
    """Set the source's position and the guards, after `look` has compared it.

    The guards are those of the shard and of the event types in `newest` (type -> the newest event that was stored).
    """
    shard, key = place.source.shard, place.source.key
    if place.position is None:
        connection.execute(
            f"INSERT INTO ops.position_{shard} VALUES (?, ?, 1, ?, ?, NULL)", [key, position, batch_id, stamp]
        )
        guard(connection, shard, batch_id, newest.get(shard))
    else:
        _update(connection, shard, batch_id, newest.get(shard), key, position, stamp)
    for event_type in sorted(newest.keys() - {shard}):
        guard(connection, event_type, batch_id, newest[event_type])


def guard(connection: duckdb.DuckDBPyConnection, shard: str, batch_id: str, newest: datetime | None = None) -> None:
    """Make this transaction conflict with every other writer of a shard or event type, and move its watermark."""
    _update(connection, shard, batch_id, newest, None, None, None)


def _update(
    connection: duckdb.DuckDBPyConnection,
    shard: str,
    batch_id: str,
    newest: datetime | None,
    key: str | None,
    position: str | None,
    stamp: datetime | None,
) -> None:
    values = {"batch": batch_id, "key": key, "position": position, "stamp": stamp, "newest": newest}
    connection.execute(MOVED.format(shard=shard, guard=GUARD), values)

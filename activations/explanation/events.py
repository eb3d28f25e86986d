"""The newest sessions of a user, and every raw event in them, with where it came from."""

from __future__ import annotations

from typing import Any

import duckdb

from activations.explanation.tables import exists, of_user, rows
from activations.planner import MASK
from searchflow.event_types import EVENT_TYPES, EventType
from searchflow.fetching import first_row

SESSIONS = "intermediate.int_search_sessions"
NOTHING = "NULL"
TOLD = {
    "search": {"query": "payload ->> '$.query'"},
    "conversion": {"value": "concat(payload ->> '$.booking_value', ' ', coalesce(payload ->> '$.currency', 'CAD'))"},
}
"""Event type -> column of the story -> what it shows of the document. Other types are shown without."""


def _part(event_type: EventType) -> str:
    told = TOLD.get(event_type.name, {})
    follows = [f"lower(payload ->> '$.{each.field}')" for each in event_type.references]
    return f"""
    SELECT '{event_type.name}' AS event_type, event_id, event_ts, session_id, user_id,
        coalesce({", ".join([*follows, "NULL"])}) AS follows, {told.get("query", NOTHING)} AS query,
        {told.get("value", NOTHING)} AS value, source, source_position, ingested_at
    FROM {event_type.raw_table}"""


EVENTS = " UNION ALL".join(map(_part, EVENT_TYPES.values()))


def sessions(connection: duckdb.DuckDBPyConnection, user: str, newest: int, *, personal: bool) -> list[dict[str, Any]]:
    """Return a user's newest sessions with their `events`."""
    found = of_user(connection, SESSIONS, user, personal=personal, order=f"session_start DESC LIMIT {newest:d}")
    if not found:
        return []
    first, last = min(each["session_start"] for each in found), max(each["session_end"] for each in found)
    events = rows(
        connection,
        f"SELECT * FROM ({EVENTS}) WHERE event_ts BETWEEN ? AND ? AND session_id IN (SELECT unnest(?)) "
        "ORDER BY event_ts, event_type DESC, event_id",
        [first, last, [each["session_id"] for each in found]],
    )
    for event in events:
        if event["query"] is not None and not personal:
            event["query"] = MASK
    return [each | {"events": [event for event in events if _is_in(event, each)]} for each in found]


def _is_in(event: dict[str, Any], session: dict[str, Any]) -> bool:
    return bool(
        event["session_id"] == session["session_id"]
        and session["session_start"] <= event["event_ts"] <= session["session_end"]
    )


def counts(connection: duckdb.DuckDBPyConnection, user: str) -> dict[str, int]:
    """Return how many sessions and events there are of a user; also before the models know them."""
    found = {"sessions": 0, "events": 0, "profiles": 0}
    if exists(connection, SESSIONS):
        found["sessions"] = _one(connection, f"SELECT count(*) FROM {SESSIONS} WHERE user_id = ?", user)
    found["events"] = _one(connection, f"SELECT count(*) FROM ({EVENTS}) WHERE user_id = ?", user)
    found["profiles"] = _one(connection, "SELECT count(*) FROM raw.user_profiles WHERE user_id = ?", user)
    return found


def _one(connection: duckdb.DuckDBPyConnection, query: str, user: str) -> int:
    row = first_row(connection.execute(query, [user]))
    return int(row[0]) if row else 0

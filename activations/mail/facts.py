"""Facts that must be known of a person in the moment before a message goes: booked since? still agreeing? suppressed?

Read from raw, which is seconds old, not from the models, which are minutes old; bookings that are still in the stream
count too. All messages of a batch are looked at by one query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import msgspec
import pyarrow as pa

from activations.mail.message import Message
from activations.mail.suppression import LISTED, address_hash, former_hash
from searchflow import streams, warehouse
from searchflow.event_types import EVENT_TYPES, of_every_type
from searchflow.ingestion import positions
from searchflow.ingestion.stream_source import StreamPosition
from searchflow.settings import Settings

BOOKED, NO_CONSENT, SUPPRESSED = "they booked", "they no longer agree", "on the suppression list"
SESSION = timedelta(days=1)
"""The longest that a session lasts. A booking without a user belongs to the user who logged in during its session."""

FACTS = f"""
WITH sessions AS (
    SELECT DISTINCT user_id, session_id
    FROM ({of_every_type(EVENT_TYPES, "SELECT user_id, session_id, event_ts FROM raw.{table}")})
    WHERE event_ts >= $since AND user_id IN (SELECT user_id FROM asked)
), conversions AS (
    SELECT user_id, session_id, event_ts FROM raw.conversion_events WHERE event_ts >= $since
    UNION ALL SELECT user_id, session_id, event_ts FROM unread
), booked AS (
    SELECT user_id, max(event_ts) AS booked_at FROM (
        SELECT user_id, event_ts FROM conversions WHERE user_id IS NOT NULL
        UNION ALL
        SELECT sessions.user_id, event_ts FROM conversions JOIN sessions USING (session_id)
        WHERE conversions.user_id IS NULL)
    GROUP BY user_id
), agreed AS (
    SELECT user_id, bool_and(agrees) AS agrees FROM (  -- as staging.stg_user_profiles: where nothing decides, no consent
        SELECT user_id, coalesce(marketing_consent, FALSE) AS agrees FROM raw.user_profiles
        WHERE user_id IN (SELECT user_id FROM asked)
        QUALIFY rank() OVER (PARTITION BY user_id ORDER BY updated_at DESC, ingested_at DESC) = 1
            AND rank() OVER (PARTITION BY user_id, updated_at, ingested_at, batch_id
                ORDER BY TRY_CAST(source_position AS BIGINT) DESC NULLS LAST) = 1)
    GROUP BY user_id
), suppressed AS ({LISTED})
SELECT key, coalesce(booked_at >= searched_at, FALSE), coalesce(agrees, FALSE),
    EXISTS (SELECT 1 FROM suppressed WHERE suppressed.user_id = asked.user_id
        OR suppressed.address_hash IN (asked.address_hash, asked.former_hash))
FROM asked LEFT JOIN booked USING (user_id) LEFT JOIN agreed USING (user_id)
"""


@dataclass(frozen=True)
class Fact:
    """The facts about one message's receiver."""

    booked: bool
    agrees: bool
    suppressed: bool

    def objection(self) -> tuple[str, str] | None:
        """Return the state that ends the message, and why; None when it may go."""
        if self.booked:
            return "withdrawn", BOOKED
        if self.suppressed:
            return "suppressed", SUPPRESSED
        return None if self.agrees else ("withdrawn", NO_CONSENT)


class _Booking(msgspec.Struct, frozen=True):
    session_id: str
    timestamp: datetime
    user_id: str | None = None


def look(settings: Settings, connection: duckdb.DuckDBPyConnection, messages: Sequence[Message]) -> dict[str, Fact]:
    """Return message key -> what is known now."""
    # The stream first: what ingestion takes from it meanwhile is in raw when raw is read.
    unread = list(_unread(settings, connection))
    asked = pa.table(
        {
            "key": [each.key for each in messages],
            "user_id": [each.user_id for each in messages],
            "searched_at": pa.array([each.searched_at for each in messages], pa.timestamp("us")),
            "address_hash": [address_hash(settings, each.address) for each in messages],
            "former_hash": [former_hash(settings, each.address) for each in messages],
        }
    )
    names = {"user_id": pa.string(), "session_id": pa.string(), "event_ts": pa.timestamp("us")}
    waiting = pa.table(
        {name: pa.array([row[at] for row in unread], kind) for at, (name, kind) in enumerate(names.items())}
    )
    since = min(each.searched_at for each in messages) - SESSION
    connection.register("asked", asked)
    connection.register("unread", waiting)
    try:
        with warehouse.transaction(connection):
            found = connection.execute(FACTS, {"since": since}).fetchall()
    finally:
        connection.unregister("asked")
        connection.unregister("unread")
    return {key: Fact(*rest) for key, *rest in found}


def _unread(settings: Settings, connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str | None, str, datetime]]:
    """Yield bookings that are in the stream and not ingested yet: (user, session, moment)."""
    with streams.connect(settings) as client:
        for stream in streams.names(settings)["conversion"]:
            stored = positions.position(connection, "conversion", stream)
            place = StreamPosition.parse(stored).entry_id if stored else streams.START
            while entries := streams.read(client, stream, place, entries=500):
                place = entries[-1][0]
                for _, fields in entries:
                    yield from _bookings(fields)


def _bookings(fields: dict[bytes, bytes]) -> Iterator[tuple[str | None, str, datetime]]:
    try:
        lines = streams.decode(fields)
    except ValueError:
        return  # a dead letter, when it is ingested
    for line in lines:
        try:
            found = msgspec.json.decode(line, type=_Booking)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if found.timestamp.tzinfo is not None:
            yield found.user_id, found.session_id, found.timestamp.astimezone(UTC).replace(tzinfo=None)

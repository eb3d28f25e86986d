"""Who is meant: every identifier that leads to one person, gathered from the raw tables."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import msgspec

from searchflow.event_types import EVENT_TYPES, of_every_type

THEIRS = "(user_id = $user OR user_id IS NULL AND session_id IN (SELECT unnest($sessions::VARCHAR[])))"
"""Which events are a person's: those that name them, and the anonymous ones of sessions that they logged in to."""


class Person(msgspec.Struct):
    """A user and what else names them. `shared` sessions had another user too: their id is not this person's alone."""

    user_id: str
    sessions: list[str] = []
    shared: list[str] = []
    events: list[str] = []
    emails: list[str] = []
    names: list[str] = []
    kept_emails: list[str] = []
    """Addresses that another user has too."""

    @property
    def all_sessions(self) -> list[str]:
        """Sessions whose anonymous events are theirs."""
        return [*self.sessions, *self.shared]

    def joined(self, other: Person) -> Person:
        """With what was found later: an erasure that goes on after a kill finds less than it began with."""
        both = {
            name: sorted({*getattr(self, name), *getattr(other, name)})
            for name in self.__struct_fields__
            if name != "user_id"
        }
        return Person(self.user_id, **both)


def find(connection: duckdb.DuckDBPyConnection, user_id: str) -> Person:
    """Gather what the raw tables say of a user; nothing but the id when they know nobody of that name."""
    events = of_every_type(EVENT_TYPES, "SELECT session_id, user_id, event_id FROM raw.{table}")
    person = Person(user_id)
    sessions = connection.execute(
        f"""
        SELECT session_id, bool_or(user_id <> $user) FROM ({events})
        WHERE session_id IN (SELECT session_id FROM ({events}) WHERE user_id = $user) GROUP BY 1 ORDER BY 1
        """,
        {"user": user_id},
    ).fetchall()
    person.sessions = [session for session, shared in sessions if not shared]
    person.shared = [session for session, shared in sessions if shared]
    person.events = _texts(
        connection,
        f"SELECT DISTINCT event_id FROM ({events}) WHERE {THEIRS} ORDER BY 1",
        {"user": user_id, "sessions": person.all_sessions},
    )
    profile = "SELECT DISTINCT {0} FROM raw.user_profiles WHERE user_id = $user AND {0} <> '' ORDER BY 1"
    person.names = _texts(connection, profile.format("name"), {"user": user_id})
    addresses = _texts(connection, profile.format("email"), {"user": user_id})
    person.kept_emails = _of_others(connection, user_id, addresses)
    person.emails = [address for address in addresses if address not in person.kept_emails]
    return person


def _of_others(connection: duckdb.DuckDBPyConnection, user_id: str, addresses: Sequence[str]) -> list[str]:
    return _texts(
        connection,
        "SELECT DISTINCT address FROM (SELECT unnest($addresses::VARCHAR[]) AS address) "
        "JOIN raw.user_profiles ON lower(email) = lower(address) AND user_id <> $user ORDER BY 1",
        {"addresses": list(addresses), "user": user_id},
    )


def _texts(connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, object]) -> list[str]:
    return [str(row[0]) for row in connection.execute(query, values).fetchall()]

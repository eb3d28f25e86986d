"""The person to erase: every identifier that leads to them, gathered from the raw tables."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import msgspec

from searchflow.event_types import EVENT_TYPES, of_every_type

THEIRS = "(user_id = $user OR user_id IS NULL AND session_id IN (SELECT unnest($sessions::VARCHAR[])))"
"""The SQL condition for a person's events: those that name them, and anonymous ones of sessions that they logged in to."""


class Person(msgspec.Struct):
    """A user and what else names them. Another user had `shared` sessions too, so their ids are not this person's alone."""

    user_id: str
    sessions: list[str] = []
    shared: list[str] = []
    events: list[str] = []
    emails: list[str] = []
    names: list[str] = []
    kept_emails: list[str] = []
    """The addresses that another user has too."""

    @property
    def all_sessions(self) -> list[str]:
        """The sessions whose anonymous events belong to the person."""
        return [*self.sessions, *self.shared]

    def joined(self, other: Person) -> Person:
        """Return the person with what was found later: an erasure that continues after a kill finds less than before."""
        both = {
            name: sorted({*getattr(self, name), *getattr(other, name)})
            for name in self.__struct_fields__
            if name != "user_id"
        }
        return Person(self.user_id, **both)


def find(connection: duckdb.DuckDBPyConnection, user_id: str) -> Person:
    """Gather what the raw tables know of a user. For a user that they do not know, this is only the id."""
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

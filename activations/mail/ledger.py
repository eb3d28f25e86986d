"""The ledger of messages in PostgreSQL (schema `email` of the database `ledger`, explained in `ledger.sql`).

Each step of a message is a statement that is committed before the next step begins. The state `sending` is written
between the last byte of a message's text and the end-of-data line: found after a crash, it means that no one knows
whether the server took the message. Every other state is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from activations.session import LedgerSession
from searchflow.errors import NegativeAnswer, ServiceError
from searchflow.services import locks

STATES = ("sent", "waiting", "sending", "held", "withdrawn", "suppressed", "capped", "expired", "refused")
SETTLED = ("sent", "withdrawn", "suppressed", "capped", "expired", "refused")
COUNTED = ("sent", "sending", "held")
"""The states that the caps count: a user who may have got a message counts as having got it."""
TAKEN_OVER = "Another worker took over. This one stops; nothing is lost."


@dataclass(frozen=True)
class Waiting:
    """A message that is due."""

    key: str
    user_id: str
    entry: str
    message_id: str
    failures: int


class MailLedger(LedgerSession):
    """One session with the ledger. A worker holds the lock: each home has one worker, on whatever machine."""

    SCHEMA, SETUP = "email", Path(__file__).with_suffix(".sql")
    LOCK, PROGRAM = locks.EMAIL_DELIVERY, "email"
    BUSY = "Another worker delivers this home's e-mail ({holder}). Wait until it ends, or let it do its work."
    GONE = "The ledger stopped answering. Run `searchflow status`, then deliver again."

    # Taking messages from the outbox.

    def position(self, stream: str) -> str | None:
        """Return the last entry that was taken."""
        found = self._one("SELECT entry FROM email.positions WHERE stream = %s", stream)
        return None if found is None else str(found)

    def take(self, stream: str, rows: Sequence[Sequence[Any]], position: str, now: datetime) -> int:
        """Add messages and move the position, together. Of a known key only the entry is updated: a key is sent once,
        ever.

        `rows` are (key, user_id, trigger, entry, message_id, queued_at, state, reason). Return how many were new.
        """
        rows = list({row[0]: row for row in rows}.values())
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO email.messages (key, user_id, trigger, entry, message_id, queued_at, next_at, state, "
                "reason, changed_at) SELECT key, user_id, trigger, entry, message_id, queued, %s, state, reason, %s "
                "FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamp[], %s::text[], "
                "%s::text[]) AS taken (key, user_id, trigger, entry, message_id, queued, state, reason) "
                "ON CONFLICT (key) DO UPDATE SET entry = excluded.entry, cleared = false RETURNING xmax = 0",
                [now, now, *([row[place] for row in rows] for place in range(8))],
            )
            taken = sum(new for (new,) in cursor.fetchall())
            cursor.execute(
                "INSERT INTO email.positions VALUES (%s, %s) ON CONFLICT (stream) DO UPDATE SET entry = excluded.entry",
                [stream, position],
            )
        return taken

    # Deciding.

    def recover(self, now: datetime) -> int:
        """Hold what a killed worker left in doubt. We have the lock, so no other worker is sending."""
        return self._connection.execute(
            "UPDATE email.messages SET state = 'held', changed_at = %s, reason = 'the worker was killed while the "
            "server was taking it' WHERE state = 'sending'",
            [now],
        ).rowcount

    def due(self, now: datetime, limit: int) -> list[Waiting]:
        """Return messages to look at, the longest waiting first."""
        found = self._connection.execute(
            "SELECT key, user_id, entry, message_id, failures FROM email.messages "
            "WHERE state = 'waiting' AND next_at <= %s ORDER BY next_at, key LIMIT %s",
            [now, limit],
        ).fetchall()
        return [Waiting(*row) for row in found]

    def recent(self, users: Sequence[str], since: datetime) -> dict[str, list[datetime]]:
        """Return user -> when messages went to them since then."""
        found: dict[str, list[datetime]] = {}
        for user, tried in self._connection.execute(
            "SELECT user_id, tried_at FROM email.messages WHERE user_id = ANY(%s) AND tried_at > %s AND state = ANY(%s)",
            [list(users), since, list(COUNTED)],
        ):
            found.setdefault(user, []).append(tried)
        return found

    def settle(self, decided: Sequence[tuple[str, str, str]], now: datetime) -> None:
        """Give messages that wait a final state: (key, state, reason)."""
        if decided:
            keys, states, reasons = zip(*decided, strict=True)
            self._connection.execute(
                "UPDATE email.messages m SET state = d.state, reason = d.reason, changed_at = %s "
                "FROM unnest(%s::text[], %s::text[], %s::text[]) AS d (key, state, reason) "
                "WHERE m.key = d.key AND m.state = 'waiting'",
                [now, list(keys), list(states), list(reasons)],
            )

    def postpone(self, decided: Sequence[tuple[str, datetime, str]], now: datetime) -> None:
        """Look at messages again later: (key, when, reason)."""
        if decided:
            keys, moments, reasons = zip(*decided, strict=True)
            self._connection.execute(
                "UPDATE email.messages m SET next_at = d.at, reason = d.reason, changed_at = %s "
                "FROM unnest(%s::text[], %s::timestamp[], %s::text[]) AS d (key, at, reason) "
                "WHERE m.key = d.key AND m.state = 'waiting'",
                [now, list(keys), list(moments), list(reasons)],
            )

    # Sending, one message after the other.

    def intend(self, key: str, now: datetime) -> None:
        """Note that the end of the message's data is about to be sent.

        Raises:
            ServiceError: the ledger is gone, or the message is not ours to send; its end must not be sent.
        """
        try:
            changed = self._connection.execute(
                "UPDATE email.messages SET state = 'sending', attempts = attempts + 1, tried_at = %s, changed_at = %s, "
                "reason = NULL WHERE key = %s AND state = 'waiting'",
                [now, now, key],
            ).rowcount
        except psycopg.OperationalError:
            raise ServiceError(self.GONE) from None
        if changed != 1:
            raise ServiceError(TAKEN_OVER)

    def conclude(self, key: str, state: str, reason: str | None, now: datetime) -> None:
        """Note what became of a message that was `sending`, because the server answered."""
        self._connection.execute(
            "UPDATE email.messages SET state = %s, reason = %s, changed_at = %s WHERE key = %s AND state = 'sending'",
            [state, reason, now, key],
        )

    def retry(self, key: str, at: datetime, reason: str, now: datetime) -> None:
        """Note that the server asked to come back later; certainly nothing was delivered."""
        self._connection.execute(
            "UPDATE email.messages SET state = 'waiting', next_at = %s, reason = %s, failures = failures + 1, "
            "tried_at = NULL, changed_at = %s WHERE key = %s AND state IN ('waiting', 'sending')",
            [at, reason, now, key],
        )

    # Tidying up, and answers for people.

    def to_clear(self, limit: int = 1000) -> list[tuple[str, str]]:
        """Return (key, entry) of settled messages whose entries are still in the outbox."""
        return self._connection.execute(
            "SELECT key, entry FROM email.messages WHERE NOT cleared AND state = ANY(%s) LIMIT %s",
            [list(SETTLED), limit],
        ).fetchall()

    def mark_cleared(self, keys: Sequence[str]) -> None:
        """Note that the entries of these messages are gone from the outbox."""
        self._connection.execute("UPDATE email.messages SET cleared = true WHERE key = ANY(%s)", [list(keys)])

    def counts(self) -> dict[str, int]:
        """Return how many messages are in each state."""
        found: dict[str, int] = dict(
            self._connection.execute("SELECT state, count(*) FROM email.messages GROUP BY state").fetchall()
        )
        return {state: found.get(state, 0) for state in STATES}

    def reasons(self) -> list[dict[str, Any]]:
        """Return counts of messages by state and reason."""
        found = self._connection.execute(
            "SELECT state, reason, count(*), max(changed_at) FROM email.messages WHERE reason IS NOT NULL "
            "GROUP BY state, reason ORDER BY state, count(*) DESC, reason"
        ).fetchall()
        return [dict(zip(("state", "reason", "messages", "last_at"), row, strict=True)) for row in found]

    def held(self) -> list[dict[str, Any]]:
        """Return the messages in doubt."""
        found = self._connection.execute(
            "SELECT key, message_id, tried_at, attempts, reason FROM email.messages WHERE state = 'held' "
            "ORDER BY tried_at, key"
        ).fetchall()
        return [dict(zip(("key", "message_id", "tried_at", "attempts", "reason"), row, strict=True)) for row in found]

    def of_user(self, user_id: str) -> list[dict[str, Any]]:
        """Return a person's messages, the newest first."""
        names = ("key", "trigger", "state", "reason", "queued_at", "next_at", "tried_at", "message_id")
        found = self._connection.execute(
            f"SELECT {', '.join(names)} FROM email.messages WHERE user_id = %s ORDER BY queued_at DESC, key", [user_id]
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def resolve(self, key: str, *, sent: bool, by: str, now: datetime) -> None:
        """Settle a message in doubt, because a user found out what became of it.

        Raises:
            NegativeAnswer: no message in doubt has this key.
        """
        state, reason = ("sent", "the server had taken it") if sent else ("waiting", "the server had not taken it")
        changed = self._connection.execute(
            "UPDATE email.messages SET state = %s, reason = %s, resolved_by = %s, changed_at = %s, next_at = %s, "
            "tried_at = CASE WHEN %s THEN tried_at END WHERE key = %s AND state = 'held'",
            [state, reason, by, now, now, sent, key],
        ).rowcount
        if changed != 1:
            raise NegativeAnswer(f"No message in doubt has the key {key!r}. `searchflow email status` lists them.")

    def oldest(self) -> datetime | None:
        """Return since when the longest waiting message waits."""
        found: datetime | None = self._one("SELECT min(queued_at) FROM email.messages WHERE state = 'waiting'")
        return found

"""Example messages to look at: one that is made up, or a person's own."""

from __future__ import annotations

import json

from activations.mail.message import Message, decode
from searchflow import warehouse
from searchflow.errors import NegativeAnswer
from searchflow.fetching import first_row
from searchflow.ops import audit_log
from searchflow.settings import Settings

MODEL = "activation.act_abandoned_search_emails"
COLUMNS = ("idempotency_key", "user_id", "email", "name", "locale", "time_zone", "query", "destination", "searched_at")


def made_up(trigger: str) -> Message:
    """Return a made-up message that belongs to no user."""
    values = (
        f"u-0:{trigger}:2026-05-20", "u-0", "robin@example.com", "Robin", "en-CA", "America/Toronto",
        "hotels in Lisbon", "Lisbon", "2026-05-20 15:30:00",
    )  # fmt: skip
    return _message(values)


def of_user(settings: Settings, user_id: str, trigger: str) -> Message:
    """Return the newest message that the model has for a person now. The look is entered in the audit log.

    Raises:
        NegativeAnswer: it has none.
    """
    audit_log.append(settings, "read", MODEL, rows=1, detail="preview of a message")
    with warehouse.connect(settings, read_only=True) as connection:
        known = first_row(
            connection.execute(
                "SELECT 1 FROM information_schema.tables WHERE table_schema || '.' || table_name = ?", [MODEL]
            )
        )
        row = None
        if known:
            row = first_row(
                connection.execute(
                    f"SELECT {', '.join(COLUMNS)} FROM {MODEL} WHERE user_id = ? ORDER BY searched_at DESC LIMIT 1",
                    [user_id],
                )
            )
    if row is None:
        raise NegativeAnswer(f"There is no message for the user {user_id!r} now. Leave out --user for an example.")
    return _message(row)


def _message(values: tuple[object, ...]) -> Message:
    document = dict(zip(COLUMNS, values, strict=True))
    found = decode(json.dumps(document, default=str).encode())
    assert found is not None, "the model promises a message"
    return found

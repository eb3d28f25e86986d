"""A message as the outbox holds it, and the two names it goes by: its key, and the Message-ID that follows from it."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from datetime import datetime

import msgspec

from searchflow import keys
from searchflow.settings import Settings

LONGEST_QUERY = 120
LONGEST_NAME = 1000
"""The most characters of keys and user ids: they are opaque, but not endless."""


class _OutboxEntry(msgspec.Struct, frozen=True):
    idempotency_key: str
    user_id: str
    email: str
    searched_at: str
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    query: str | None = None
    destination: str | None = None


@dataclass(frozen=True)
class Message:
    """A message: what to write about, and to whom. Its `repr` shows no personal data."""

    key: str
    user_id: str
    searched_at: datetime  # UTC, without a zone
    document: _OutboxEntry

    def __repr__(self) -> str:
        return f"Message({self.key!r})"

    @property
    def address(self) -> str:
        """Return the address to send the message to."""
        return self.document.email

    @property
    def trigger(self) -> str:
        """Return why the message is written: the middle of `user:trigger:window`, and the name of its template."""
        parts = self.key.rsplit(":", 2)
        return parts[1] if len(parts) == 3 else ""


def decode(data: bytes) -> Message | None:
    """Return the message of an entry; None when it is none (another program wrote it)."""
    try:
        found = msgspec.json.decode(data, type=_OutboxEntry)
        searched_at = datetime.fromisoformat(found.searched_at).replace(tzinfo=None)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    names = (found.idempotency_key, found.user_id)
    if any(not name or "\0" in name or len(name) > LONGEST_NAME for name in names):
        return None
    return Message(found.idempotency_key, found.user_id, searched_at, found)


def message_id(settings: Settings, key: str, sender: str) -> str:
    """Return the Message-ID: always the same for a message, so that a receiver can tell a second copy.

    It says nothing about the receiver.
    """
    digest = hmac.new(keys.derived(settings, "message ids"), key.encode(), hashlib.sha256).hexdigest()[:32]
    return f"<{digest}@{sender.rpartition('@')[2] or 'localhost'}>"


def one_line(text: str | None, longest: int = LONGEST_QUERY) -> str:
    """Return what a visitor typed, as one line of ordinary characters: no line break, no control, no change of
    direction."""
    kept = "".join(" " if char.isspace() else char for char in text or "" if _is_ordinary(char))
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1].rstrip() + "…"


def _is_ordinary(char: str) -> bool:
    # Cf holds the marks that turn the direction of a text; the joiner in it makes one emoji of several.
    return char.isspace() or char == "\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")

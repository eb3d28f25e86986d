"""The suppression list: people who must not be written to, whatever they agreed to before.

The list is `ops.email_suppressions` in the warehouse, one row a change, the newest counts. It holds user ids, and
addresses as keyed hashes. The model of the outbox leaves out users on it, and the worker looks again, also at
addresses, right before a message goes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from searchflow import addresses, keys, warehouse
from searchflow.errors import UsageError
from searchflow.ops import audit_log, record
from searchflow.settings import Settings

LISTED = """
    SELECT user_id, address_hash, reason, changed_at, changed_by FROM ops.email_suppressions
    QUALIFY row_number() OVER (PARTITION BY user_id, address_hash ORDER BY changed_at DESC, suppressed DESC) = 1
        AND suppressed"""
"""The query for who is on the list now."""
_Entry = tuple[str | None, str | None]
"""A user id or the hash of an address; one of them."""


def address_hash(settings: Settings, address: str) -> str:
    """Return an address as the list holds it. Case, spaces around and how the domain is written do not matter."""
    try:
        plain = addresses.comparable(address)
    except addresses.NoDomain:  # it cannot be written to, but a person who is listed shall stay listed
        plain = address.strip().casefold()
    return _hashed(settings, plain)


def former_hash(settings: Settings, address: str) -> str:
    """Return an address as earlier releases listed it: the hash differs only for characters beyond ASCII."""
    return _hashed(settings, address.strip().casefold())


def _hashed(settings: Settings, plain: str) -> str:
    key = keys.derived(settings, "suppressed addresses")
    return hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()[:32]


def change(
    settings: Settings, who: Sequence[str], *, suppressed: bool, reason: str, by: str, now: datetime
) -> tuple[int, int]:
    """Put users (ids) and addresses (anything with an @) on the list, or take them off. Return (changed, as it was)."""
    people = [each for each in who if each.strip()]
    with warehouse.connect(settings) as connection:
        known = {row[:2] for row in connection.execute(LISTED).fetchall()}
        entries = set[_Entry]().union(*(_entries(settings, each, known) for each in people))
        changed = [entry for entry in sorted(entries, key=str) if (entry in known) != suppressed]
        rows = [
            {
                "user_id": user,
                "address_hash": address,
                "suppressed": suppressed,
                "reason": reason,
                "changed_at": now.replace(tzinfo=None),
                "changed_by": by,
            }
            for user, address in changed
        ]
        record.rows(connection, "ops.email_suppressions", rows)
    if rows:
        action = "suppress" if suppressed else "unsuppress"
        audit_log.append(settings, action, "ops.email_suppressions", rows=len(rows), detail=f"by {by}")
    return len(rows), len(entries) - len(rows)


def _entries(settings: Settings, who: str, known: set[_Entry]) -> set[_Entry]:
    """Return how a person or an address is listed: also as an earlier release did, where it still is so."""
    if "@" not in who:
        return {(who.strip(), None)}
    now: _Entry = (None, address_hash(settings, who))
    return {now, (None, former_hash(settings, who))} & known or {now}


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return all entries of the list, the newest first."""
    with warehouse.connect(settings, read_only=True) as connection:
        rows = connection.execute(
            f"SELECT * FROM ({LISTED}) ORDER BY changed_at DESC, user_id, address_hash"
        ).fetchall()
    names = ("user_id", "address_hash", "reason", "changed_at", "changed_by")
    return [dict(zip(names, row, strict=True)) for row in rows]


def token(settings: Settings, user_id: str) -> str:
    """Return what stands in a person's unsubscribe link: their id, signed, so that no one can take others off."""
    name = base64.urlsafe_b64encode(user_id.encode()).decode().rstrip("=")
    return f"{name}.{_signature(settings, user_id)}"


def user_of(settings: Settings, given: str) -> str:
    """Return the user of a token.

    Raises:
        UsageError: it was not made here, or changed.
    """
    name, _, signature = given.partition(".")
    try:
        user_id = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, ValueError):
        user_id = ""
    if not user_id or not hmac.compare_digest(signature.encode(), _signature(settings, user_id).encode()):
        raise UsageError("This unsubscribe token was not made by this installation. Copy it whole from the link.")
    return user_id


def _signature(settings: Settings, user_id: str) -> str:
    key = keys.derived(settings, "unsubscribe")
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:32]

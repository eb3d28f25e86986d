"""Finding dead letters: a selection, its groups, one dead letter, and its bytes shown safely."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from searchflow.errors import NotFoundError, UsageError
from searchflow.events import REASON_CODES

STATUSES = ("open", "replayed", "discarded")


@dataclass(frozen=True)
class Selection:
    """A selection of dead letters. Every condition given must hold; without any, all with the status are selected."""

    status: str = "open"
    reason: str | None = None
    """One of `REASON_CODES`."""
    event_type: str | None = None
    source: str | None = None
    """The beginning of the column `source`, such as `file:` or a stream's name."""
    since: datetime | None = None
    until: datetime | None = None
    """Received from `since` on and before `until`, UTC."""
    ids: tuple[str, ...] = ()
    """Dead letters whose id begins with one of these."""

    def __post_init__(self) -> None:
        """Raise a NotFoundError for a status or reason that does not exist."""
        if self.status not in STATUSES:
            raise NotFoundError("status", self.status, STATUSES)
        if self.reason is not None and self.reason not in REASON_CODES:
            raise NotFoundError("reason code", self.reason, REASON_CODES)

    @property
    def everything(self) -> bool:
        """Return True when no condition narrows the selection."""
        return self == Selection(status=self.status)

    def where(self) -> tuple[str, list[Any]]:
        """Return the selection as SQL on `raw.dead_letters`: a condition, and its values."""
        given: list[tuple[str, Any]] = [
            ("status = ?", self.status),
            ("reason_code = ?", self.reason),
            ("event_type = ?", self.event_type),
            ("starts_with(source, ?)", self.source),
            ("received_at >= ?", _plain(self.since)),
            ("received_at < ?", _plain(self.until)),
            ("list_bool_or([starts_with(dead_letter_id, beginning) FOR beginning IN ?])", list(self.ids) or None),
        ]
        used = [(condition, value) for condition, value in given if value is not None]
        return " AND ".join(condition for condition, _ in used), [value for _, value in used]

    def text(self) -> str:
        """Return the selection as text for the audit log."""
        named = [("reason", self.reason), ("type", self.event_type), ("source", self.source)]
        named += [
            ("since", str(self.since) if self.since else None),
            ("until", str(self.until) if self.until else None),
        ]
        parts = [f"{name} {value}" for name, value in named if value is not None]
        return ", ".join(parts + [f"id {beginning}" for beginning in self.ids]) or "all"


@dataclass(frozen=True)
class LetterGroup:
    """Dead letters that were refused for the same reason."""

    reason_code: str
    event_type: str | None
    letters: int
    first_received: datetime
    last_received: datetime
    example_id: str
    example_reason: str


def groups(connection: duckdb.DuckDBPyConnection, selection: Selection | None = None) -> list[LetterGroup]:
    """Return groups of dead letters by reason and type, the most frequent first."""
    condition, values = (selection or Selection()).where()
    found = connection.execute(
        f"""
        SELECT reason_code, event_type, count(*), min(received_at), max(received_at), min(dead_letter_id),
               min_by(reason, dead_letter_id)
        FROM raw.dead_letters WHERE {condition} GROUP BY ALL ORDER BY 3 DESC, 1, 2
        """,
        values,
    ).fetchall()
    return [LetterGroup(*row) for row in found]


def ids(connection: duckdb.DuckDBPyConnection, selection: Selection) -> list[str]:
    """Return ids in the order in which the dead letters were received and stood in their source. Of two with one
    event_id, the first is stored.
    """
    condition, values = selection.where()
    found = connection.execute(
        f"""
        SELECT dead_letter_id FROM raw.dead_letters WHERE {condition}
        ORDER BY received_at, source, length(source_position), source_position, dead_letter_id
        """,
        values,
    ).fetchall()
    return [str(letter) for (letter,) in found]


def show(connection: duckdb.DuckDBPyConnection, letter_id: str) -> dict[str, Any]:
    """Return one dead letter, by its id or the beginning of it. `raw_payload` is bytes: escape it before you print it."""
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
    """Return bytes as text that is safe on a terminal: every control byte and every non-ASCII byte is escaped."""
    shown = raw[:limit].decode("ascii", errors="backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return shown + (f" … ({len(raw) - limit:,} more bytes)" if len(raw) > limit else "")


def _plain(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=None)

"""Tombstones: the list of forgotten people, and how ingestion leaves them out. No replay and no backfill brings a
forgotten person back.

Schema `erasure` of the database `ledger` (`tombstones.sql`): keyed digests of user ids, of their sessions, and of their
e-mail addresses. A commit reads the list under the lock under which an erasure adds to it, so no commit slips between.
While the list is empty it costs one query a commit; then one digest for each user, and for each anonymous session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import keys
from searchflow.errors import ConfigurationError
from searchflow.events import Rejection
from searchflow.services import locks, postgres
from searchflow.settings import Settings

SETUP = Path(__file__).with_suffix(".sql")
ERASED = "erased_user"
"""The reason code of input that names a forgotten person. Its content is not kept."""
WHY = "it names a user who was forgotten (searchflow forget): its content is not kept"
USER, SESSION, EMAIL = "user", "session", "email"
DIGEST_BYTES = 16
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_WORD = re.compile(rb"[^\s\"',;:{}\[\]()<>=&?|\\]+")


def rejection(event_type: str | None) -> Rejection:
    """Return the reason why a line that names a forgotten person is not stored."""
    return Rejection(ERASED, WHY, event_type)


def prepare(settings: Settings) -> None:
    """Make the tables of the list. It is safe to call this again."""
    setup = SETUP.read_bytes()
    version = hashlib.sha256(setup).hexdigest()[:16]
    with psycopg.connect(postgres.conninfo(settings, "ledger")) as connection:
        known = connection.execute("SELECT obj_description(to_regnamespace('erasure'), 'pg_namespace')").fetchone()
        if known is None or known[0] != version:
            # Another machine may be making it at the same moment.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.TOMBSTONES_SETUP])
            connection.execute(setup)
            connection.execute(f"COMMENT ON SCHEMA erasure IS '{version}'")


@dataclass
class Tombstones:
    """The list as one process knows it. `refresh` reads what was added since."""

    settings: Settings
    _digests: set[bytes] = field(default_factory=set)
    _newest: int = 0
    _key: bytes = b""

    def refresh(self, connection: psycopg.Connection) -> Tombstones:
        """Read what is new on the list. `connection` is one to the ledger.

        Raises:
            ConfigurationError: the list was made with another key, so no one on it would be recognised.
        """
        row = connection.execute("SELECT coalesce(max(number), 0) FROM erasure.tombstones").fetchone()
        newest = int(row[0]) if row else 0
        if newest != self._newest:
            _check_key(self.settings, connection)
            found = connection.execute("SELECT digest FROM erasure.tombstones WHERE number > %s", [self._newest])
            self._digests.update(bytes(digest) for (digest,) in found)
            self._newest = newest
        return self

    def __bool__(self) -> bool:
        return bool(self._digests)

    def knows(self, kind: str, identifier: str) -> bool:
        """Return True when this user, session or address was forgotten."""
        if not self._digests:
            return False
        self._key = self._key or keys.derived(self.settings, "tombstones")
        return _digest(self._key, kind, identifier) in self._digests

    def without_erased(
        self, columns: Mapping[str, pa.Table]
    ) -> tuple[dict[str, pa.Table], list[tuple[int, Rejection]]]:
        """Separate events from those of forgotten people: return the former, and the `seq` of each of the latter with
        its reason.

        An anonymous event is a forgotten person's when its session is, as far as we knew it or as these events say.
        """
        if not self._digests:
            return dict(columns), []
        sessions = {event_type: self._mine(table) for event_type, table in columns.items()}
        theirs = pa.array(set().union(*(named for _, named in sessions.values())), type=pa.string())
        kept, gone = dict(columns), list[tuple[int, Rejection]]()
        for event_type, table in columns.items():
            anonymous = pc.and_(pc.is_null(table["user_id"]), pc.is_in(table["session_id"], value_set=theirs))
            erased = pc.or_(sessions[event_type][0], anonymous)
            if pc.any(erased).as_py():
                kept[event_type] = table.filter(pc.invert(erased))
                gone += [(seq, rejection(event_type)) for seq in table.filter(erased)["seq"].to_pylist()]
        return kept, gone

    def _mine(self, table: pa.Table) -> tuple[pa.ChunkedArray, set[str]]:
        """Find rows that name a forgotten user, and the sessions that are theirs: those of such rows, and those known
        before.
        """
        users = [each for each in pc.unique(table["user_id"]).to_pylist() if each and self.knows(USER, each)]
        named = pc.fill_null(pc.is_in(table["user_id"], value_set=pa.array(users, type=pa.string())), False)
        # An event without a session is in no session: null must not stand for one that events share.
        sessions = set(table.filter(named)["session_id"].drop_null().to_pylist())
        anonymous = pc.unique(table.filter(pc.is_null(table["user_id"]))["session_id"]).drop_null().to_pylist()
        return named, sessions | {each for each in anonymous if self.knows(SESSION, each)}

    def blanked(self, letters: Iterable[tuple[str, bytes, Rejection]]) -> list[tuple[str, bytes, Rejection]]:
        """Return refused input (position, bytes, reason). Input that names a forgotten person comes without its bytes."""
        if not self._digests:
            return list(letters)
        return [
            (place, b"", rejection(why.event_type)) if self.named_in(content) else (place, content, why)
            for place, content, why in letters
        ]

    def named_in(self, content: bytes) -> bool:
        """Return True when bytes of any shape, also broken JSON, hold an identifier of a forgotten person."""
        return bool(self._digests) and any(
            self.knows(kind, word) for word in _candidates(content) for kind in (USER, SESSION, EMAIL)
        )


def add(
    settings: Settings,
    connection: psycopg.Connection,
    identifiers: Mapping[str, Sequence[str]],
    erasure_id: str,
    now: datetime,
) -> None:
    """Put people on the list: kind -> identifiers. Those on it already stay as they are."""
    _check_key(settings, connection)
    key = keys.derived(settings, "tombstones")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO erasure.tombstones (digest, erasure_id, made_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (_digest(key, kind, identifier), erasure_id, now.replace(tzinfo=None))
                for kind, members in identifiers.items()
                for identifier in members
            ],
        )


def _check_key(settings: Settings, connection: psycopg.Connection) -> None:
    mine = _digest(keys.derived(settings, "tombstones"), "check", "")
    row = connection.execute("SELECT digest FROM erasure.key_check").fetchone()
    if row is None:
        connection.execute("INSERT INTO erasure.key_check VALUES (%s)", [mine])
    elif bytes(row[0]) != mine:
        raise ConfigurationError(
            "SEARCHFLOW_SECRET_KEY",
            "is not the key with which people were forgotten, so they would come back.",
            "Set it to that key, or bring back keys/secret of the home folder.",
        )


def _digest(key: bytes, kind: str, identifier: str) -> bytes:
    # Addresses are written in any case; other identifiers are what they are.
    text = identifier.lower() if kind == EMAIL else identifier
    return hmac.digest(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")[:DIGEST_BYTES]


def _candidates(content: bytes) -> Iterator[str]:
    """Return whatever might be an identifier: JSON texts, words, and words without the points around them."""
    for match in _QUOTED.finditer(content):
        try:
            text = json.loads(match.group(0))
        except ValueError:
            text = match.group(1).decode("utf-8", "replace")
        yield text
        if ":" in text:
            yield from text.split(":")
    for match in _WORD.finditer(content):
        word = match.group(0).decode("utf-8", "replace")
        yield word
        if word != word.strip(".!'"):
            yield word.strip(".!'")

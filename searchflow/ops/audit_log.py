"""The audit log: who or what read or changed which table, when, how many rows, under which run.

It is a table of the catalog's database (`audit_log.sql`), append-only and hash-chained. A trigger on the lake's own
commits enters changes of the lake, in the same transaction, whichever process commits. Reads and deliveries are entered
by `append`. `verify` recomputes every hash and compares the end of the chain with `audit.head`. What a superuser might
rewrite as a whole is found by hashes outside of the database, signed with the home's key: an anchor after every stage,
and the newest entry that a process of this home has made (`head.json`).
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from searchflow import actor, keys
from searchflow.errors import SearchFlowError, ServiceError
from searchflow.services import locks, postgres
from searchflow.settings import Settings

SETUP = Path(__file__).with_suffix(".sql")
COLUMNS = ("sequence", "logged_at", "actor", "process", "run_id", "action", "object", "rows", "detail")
# This repeats audit.chain() on our side: a user who rewrites entries could also replace a function in the database.
EXPECTED = """encode(sha256(convert_to(jsonb_build_array(sequence, extract(epoch FROM logged_at), actor, process, run_id,
    action, object, rows, detail, previous_hash)::text, 'UTF8')), 'hex')"""
NEWEST = "SELECT sequence, hash FROM audit.newest()"

_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OPEN_TEXT = re.compile(r"'.*", re.DOTALL)
_PLAIN_NAME = re.compile(r"[\w.]+")
_TABLES = re.compile(r"\b(?:raw|staging|intermediate|marts|activation|ops|masked)\.\w+")

_connections: dict[str, psycopg.Connection] = {}
_lock = threading.Lock()


class AuditBroken(SearchFlowError):
    """The audit log is not what was written: an entry was changed, removed or slipped in."""

    exit_status = 1


@dataclass(frozen=True)
class Verified:
    """What `verify` checked and found in order."""

    entries: int
    anchors: int
    head: str


def prepare(settings: Settings) -> None:
    """Make the table, its triggers and the trigger on the lake's commits. It is safe to call this again."""
    setup = SETUP.read_bytes()
    version = hashlib.sha256(setup).hexdigest()[:16]
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s)", [locks.AUDIT_SETUP]
        )  # another machine may be making it at the same moment
        known = connection.execute("SELECT obj_description(to_regnamespace('audit'), 'pg_namespace')").fetchone()
        if known is None or known[0] != version:
            connection.execute(setup)
            connection.execute(f"COMMENT ON SCHEMA audit IS '{version}'")


def append(settings: Settings, action: str, object: str, *, rows: int | None = None, detail: str = "") -> None:  # noqa: A002
    """Append an entry for something that is not a commit of the lake: a read, a delivery.

    Raises:
        ServiceError: the log does not answer. What is not logged must not happen: append first, then answer.
    """
    with _lock:
        for attempt in (1, 2):
            try:
                connection = _connection(settings)
                connection.execute("SELECT set_config('application_name', %s, false)", [actor.current()])
                connection.execute(
                    "INSERT INTO audit.log (action, object, rows, detail) VALUES (%s, %s, %s, %s)",
                    [action, object, rows, detail],
                )
                newest = connection.execute(NEWEST).fetchone()
            except psycopg.OperationalError as error:
                _connections.pop(postgres.plain_conninfo(settings, "catalog"), None)
                if attempt == 2:
                    raise ServiceError("The audit log does not answer. Run `searchflow status`.") from error
            else:
                if newest is not None:
                    _move_head(settings, *newest)
                return


def append_query(
    settings: Settings, sql: str, rows: int | None, *, tables: Iterable[str] | None = None, problem: str = ""
) -> None:
    """Append an entry for a query: the tables it names and its text.

    The tables are found in the text when they are not given. The text is entered without comments and values, which may
    be personal. A query that failed is entered too: its error may have shown something.
    """
    plain = without_values(sql)
    named = sorted(set(_TABLES.findall(plain.replace('"', "")) if tables is None else tables))
    detail = f"{problem}: {plain}" if problem else plain
    append(settings, "read", ", ".join(named) or "no table", rows=rows, detail=detail[:500])


def without_values(sql: str) -> str:
    """Return SQL on one line with ? for every text and number, without comments and without names that hold more than a
    name.

    >>> without_values("SELECT 'a@b.example' AS x, 7 -- mine")
    'SELECT ? AS x, ?'
    """
    tokens = duckdb.tokenize(sql)
    if not tokens:
        return ""
    places = [place for place, _ in tokens]
    parts = [sql[: places[0]]]
    for (place, kind), end in zip(tokens, [*places[1:], len(sql)], strict=True):
        text = sql[place:end]
        if kind in (duckdb.token_type.string_const, duckdb.token_type.numeric_const):
            text = "? "
        elif (quoted := _QUOTED.match(text)) and not _PLAIN_NAME.fullmatch(quoted[0][1:-1]):
            text = '"?" '
        parts.append(text)
    return " ".join(_COMMENTS.sub(" ", _OPEN_TEXT.sub("?", "".join(parts))).split())


def show(
    settings: Settings,
    *,
    limit: int = 50,
    since: datetime | None = None,
    until: datetime | None = None,
    without: tuple[str, str] | None = None,
    **filters: str | None,
) -> list[dict[str, Any]]:
    """Return the newest entries, the newest first.

    Filters: actor, process, run_id, action, object (a table, or its beginning). `without` leaves out what a process did
    with an action.
    """
    conditions: list[str] = ["true"]
    values: list[Any] = []
    for name, value in filters.items():
        if value is not None:
            # A query may name several tables.
            among = "EXISTS (SELECT FROM unnest(string_to_array(object, ', ')) AS one WHERE starts_with(one, %s))"
            conditions.append(among if name == "object" else f"{name} = %s")
            values.append(value)
    if without is not None:
        conditions.append("NOT (process = %s AND action = %s)")
        values += without
    for moment, sign in ((since, ">="), (until, "<")):
        if moment is not None:
            conditions.append(f"logged_at {sign} %s")
            values.append(moment)
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM audit.log WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT %s"
    )
    with psycopg.connect(postgres.conninfo(settings, "catalog"), options="-c TimeZone=UTC") as connection:
        rows = connection.execute(query, [*values, limit]).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def anchor(settings: Settings) -> None:
    """Keep the newest hash outside of the database, signed: what is before it can no longer be rewritten without being
    noticed.
    """
    head = _head(settings)
    if head is None:
        return
    path = _anchors(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a") as file:
        file.write(_line(settings, *head))
    _move_head(settings, *head)


def verify(settings: Settings) -> Verified:
    """Recompute the chain, and compare it with the anchors.

    Raises:
        AuditBroken: names the first entry that was changed, removed or slipped in.
    """
    hashes = _anchored(settings)  # first: an entry is made before its anchor, so the log is as new as these at least
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # other processes go on writing
        row = connection.execute(f"""
            SELECT min(sequence) FROM (
                SELECT sequence, hash <> {EXPECTED} OR previous_hash <> lag(hash, 1, '') OVER entries
                    OR sequence <> row_number() OVER entries AS broken
                FROM audit.log WINDOW entries AS (ORDER BY sequence)
            ) AS checked WHERE broken""").fetchone()
        if row is not None and row[0] is not None:
            raise AuditBroken(f"The audit log was edited at entry {row[0]} or just before. Compare it with a backup.")
        last = connection.execute("SELECT sequence, hash FROM audit.log ORDER BY sequence DESC LIMIT 1").fetchone()
        end = connection.execute("SELECT sequence, hash FROM audit.head").fetchone()
        found: dict[int, str] = dict(
            connection.execute(
                "SELECT sequence, hash FROM audit.log WHERE sequence = ANY(%s)", [list(hashes)]
            ).fetchall()
        )
    wrong = min((sequence for sequence, known in hashes.items() if found.get(sequence) != known), default=None)
    if wrong is not None:
        raise AuditBroken(
            f"Entry {wrong} of the audit log is not what it was when it was anchored: the log was rewritten or cut. "
            "Compare it with a backup."
        )
    if last != end:
        raise AuditBroken(
            f"The audit log ends at entry {last[0] if last else 0}, but its last one was {end[0] if end else 0}: it was "
            "cut. Compare it with a backup."
        )
    return Verified(last[0] if last else 0, len(hashes), last[1] if last else "")


def _anchored(settings: Settings) -> dict[int, str]:
    hashes: dict[int, str] = {}
    for path in (_anchors(settings), _head_file(settings)):
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = _signed(settings, line)
            if entry is None:
                raise AuditBroken(f"{path} was edited: an anchor has a wrong signature. Restore it from a backup.")
            hashes[entry[0]] = entry[1]
    return hashes


def _signed(settings: Settings, line: str) -> tuple[int, str] | None:
    """Return the sequence and hash of a line that we signed, or None when we did not sign it."""
    try:
        entry = json.loads(line)
        sequence, known, signature = int(entry["sequence"]), str(entry["hash"]), str(entry["signature"])
    except (ValueError, KeyError, TypeError):
        return None
    return (sequence, known) if hmac.compare_digest(_signature(settings, sequence, known), signature) else None


def _move_head(settings: Settings, sequence: int, known: str) -> None:
    """Keep the newest entry outside of the database. Another process may have kept a later one: then that one stays."""
    path = _head_file(settings)
    try:
        before = _signed(settings, path.read_text())
    except OSError:
        before = None
    if before is not None and before[0] >= sequence:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    partial.write_text(_line(settings, sequence, known))
    partial.replace(path)


def _line(settings: Settings, sequence: int, known: str) -> str:
    entry = {"sequence": sequence, "hash": known, "signature": _signature(settings, sequence, known)}
    return json.dumps(entry) + "\n"


def _head(settings: Settings) -> tuple[int, str] | None:
    try:
        with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
            return connection.execute(NEWEST).fetchone()
    except psycopg.OperationalError as error:
        raise ServiceError("The audit log does not answer. Run `searchflow status`.") from error


def _signature(settings: Settings, sequence: int, known: str) -> str:
    key = keys.derived(settings, "audit")
    return hmac.new(key, f"{sequence}:{known}".encode(), hashlib.sha256).hexdigest()


def _anchors(settings: Settings) -> Path:
    return settings.home / "audit" / "anchors.jsonl"


def _head_file(settings: Settings) -> Path:
    return settings.home / "audit" / "head.json"


def _connection(settings: Settings) -> psycopg.Connection:
    where = postgres.plain_conninfo(settings, "catalog")  # one for all: each entry names its actor
    known = _connections.get(where)
    if known is None or known.closed:
        known = _connections[where] = psycopg.connect(where, autocommit=True)
    return known


@atexit.register
def _close() -> None:
    for connection in _connections.values():
        connection.close()

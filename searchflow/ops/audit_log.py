"""The audit log: who or what read or changed which table, when, how many rows, under which run.

It is a table of the catalog's database (`audit_log.sql`), append-only and hash-chained. Changes of the lake are entered
by a trigger on the lake's own commits: in the same transaction, whoever commits. Reads and deliveries are entered by
`append`. `verify` recomputes every hash; what a superuser might rewrite as a whole is found by the anchors, which keep
earlier hashes outside of the database, signed with the home's key.
"""

from __future__ import annotations

import atexit
import getpass
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from searchflow.errors import SearchFlowError, ServiceError
from searchflow.privacy import keys
from searchflow.services import postgres
from searchflow.settings import Settings

SETUP = Path(__file__).with_suffix(".sql")
COLUMNS = ("sequence", "logged_at", "actor", "process", "run_id", "action", "object", "rows", "detail")
# The same as in audit.chain(), from here: a function in the database could be replaced by whoever rewrites entries.
EXPECTED = """encode(sha256(convert_to(jsonb_build_array(sequence, extract(epoch FROM logged_at), actor, process, run_id,
    action, object, rows, detail, previous_hash)::text, 'UTF8')), 'hex')"""

_VALUES = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_TABLES = re.compile(r"\b(?:raw|staging|intermediate|marts|activation|ops|masked)\.\w+")

_connections: dict[str, psycopg.Connection] = {}
_lock = threading.Lock()


class AuditBroken(SearchFlowError):
    """The audit log is not what was written."""

    exit_status = 1


@dataclass(frozen=True)
class Verified:
    """What `verify` found in order."""

    entries: int
    anchors: int
    head: str


def prepare(settings: Settings) -> None:
    """Make the table, its triggers and the one on the lake's commits. Safe to call again."""
    setup = SETUP.read_bytes()
    version = hashlib.sha256(setup).hexdigest()[:16]
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(5927100)")  # another machine may be at the same place
        known = connection.execute("SELECT obj_description(to_regnamespace('audit'), 'pg_namespace')").fetchone()
        if known is None or known[0] != version:
            connection.execute(setup)
            connection.execute(f"COMMENT ON SCHEMA audit IS '{version}'")


def announce(process: str, run_id: str = "") -> None:
    """Say who this process is in every connection it opens from now on: entries by the trigger name it."""
    os.environ["PGAPPNAME"] = f"{process}|{user()}|{run_id}"[:63]


@contextmanager
def announced(process: str, run_id: str = "") -> Iterator[None]:
    """The same for a block."""
    before = os.environ.get("PGAPPNAME")
    announce(process, run_id)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PGAPPNAME", None)
        else:
            os.environ["PGAPPNAME"] = before


def append(settings: Settings, action: str, object: str, *, rows: int | None = None, detail: str = "") -> None:  # noqa: A002
    """Enter something that is not a commit of the lake: a read, a delivery.

    Raises:
        ServiceError: the log does not answer. What is not logged must not happen: append first, then answer.
    """
    with _lock:
        for attempt in (1, 2):
            try:
                connection = _connection(settings)
                connection.execute("SELECT set_config('application_name', %s, false)", [_caller()])
                connection.execute(
                    "INSERT INTO audit.log (action, object, rows, detail) VALUES (%s, %s, %s, %s)",
                    [action, object, rows, detail],
                )
            except psycopg.OperationalError as error:
                _connections.pop(postgres.conninfo(settings, "catalog"), None)
                if attempt == 2:
                    raise ServiceError("The audit log does not answer. Run `searchflow status`.") from error
            else:
                return


def append_query(settings: Settings, sql: str, rows: int) -> None:
    """Enter a query: the tables it names, and its text without the values in it, which may be personal."""
    plain = " ".join(_VALUES.sub("?", sql).split())
    tables = sorted(set(_TABLES.findall(plain.replace('"', ""))))
    append(settings, "read", ", ".join(tables) or "no table", rows=rows, detail=plain[:500])


def show(
    settings: Settings, *, limit: int = 50, since: datetime | None = None, **filters: str | None
) -> list[dict[str, Any]]:
    """The newest entries, the newest first. Filters: actor, process, run_id, action, object (its beginning)."""
    conditions: list[str] = ["true"]
    values: list[Any] = []
    for name, value in filters.items():
        if value is not None:
            conditions.append("starts_with(object, %s)" if name == "object" else f"{name} = %s")
            values.append(value)
    if since is not None:
        conditions.append("logged_at >= %s")
        values.append(since)
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM audit.log WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT %s"
    )
    with psycopg.connect(postgres.conninfo(settings, "catalog"), options="-c TimeZone=UTC") as connection:
        rows = connection.execute(query, [*values, limit]).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def anchor(settings: Settings) -> None:
    """Keep the newest hash outside of the database, signed: what is before it can no longer be rewritten unseen."""
    head = _head(settings)
    if head is None:
        return
    line = {"sequence": head[0], "hash": head[1]}
    path = _anchors(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a") as file:
        file.write(json.dumps(line | {"signature": _signature(settings, *head)}) + "\n")


def verify(settings: Settings) -> Verified:
    """Recompute the chain, and compare it with the anchors.

    Raises:
        AuditBroken: names the first entry that was changed, removed or slipped in.
    """
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
        row = connection.execute(f"""
            SELECT min(sequence) FROM (
                SELECT sequence, hash <> {EXPECTED} OR previous_hash <> lag(hash, 1, '') OVER entries
                    OR sequence <> row_number() OVER entries AS broken
                FROM audit.log WINDOW entries AS (ORDER BY sequence)
            ) AS checked WHERE broken""").fetchone()
        if row is not None and row[0] is not None:
            raise AuditBroken(f"The audit log was edited at entry {row[0]} or just before. Compare it with a backup.")
        hashes = _anchored(settings)
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
    head = _head(settings)
    return Verified(head[0] if head else 0, len(hashes), head[1] if head else "")


def _anchored(settings: Settings) -> dict[int, str]:
    path = _anchors(settings)
    hashes: dict[int, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        entry = json.loads(line)
        expected = _signature(settings, entry["sequence"], entry["hash"])
        if not hmac.compare_digest(expected, entry["signature"]):
            raise AuditBroken(f"{path} was edited: an anchor has a wrong signature. Restore it from a backup.")
        hashes[entry["sequence"]] = entry["hash"]
    return hashes


def _head(settings: Settings) -> tuple[int, str] | None:
    try:
        with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
            return connection.execute("SELECT sequence, hash FROM audit.log ORDER BY sequence DESC LIMIT 1").fetchone()
    except psycopg.OperationalError as error:
        raise ServiceError("The audit log does not answer. Run `searchflow status`.") from error


def _signature(settings: Settings, sequence: int, known: str) -> str:
    key = keys.derived(settings, "audit")
    return hmac.new(key, f"{sequence}:{known}".encode(), hashlib.sha256).hexdigest()


def _anchors(settings: Settings) -> Path:
    return settings.home / "audit" / "anchors.jsonl"


def _connection(settings: Settings) -> psycopg.Connection:
    where = postgres.conninfo(settings, "catalog")
    known = _connections.get(where)
    if known is None or known.closed:
        known = _connections[where] = psycopg.connect(where, autocommit=True)
    return known


@atexit.register
def _close() -> None:
    for connection in _connections.values():
        connection.close()


def _caller() -> str:
    return os.environ.get("PGAPPNAME") or f"python|{user()}|"


def user() -> str:
    """Who runs this process, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

"""A small travel company in which one person left traces everywhere, and eyes that read every byte of it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from searchflow import services, streams
from searchflow.services import postgres, valkey
from searchflow.settings import ROOT, Settings

MAYA, OMAR, LONGER = "maya-7f3a", "omar-11", "maya-7f3a.b"
"""Who is forgotten; who used the same kiosk; who is another person with a longer name."""
EMAIL, NAME = "maya.lindqvist@example.org", "Maÿa Lindqvist"
HERS, KIOSK = "web-m4y4", "kiosk-09"
NOW = datetime.now(UTC).replace(microsecond=0)
"""Near the wall clock: servers stamp what they write with theirs."""


def uid(number: int) -> str:
    return f"5e4c0000-0000-4000-8000-{number:012d}"


def event(kind: str, number: int, hours: float, session: str, user: str | None, **more: Any) -> dict[str, Any]:
    """An event of so many hours ago."""
    own = {
        "search": {"query": "hotels in Lisbon", "results_count": 9, "platform": "web"},
        "click": {"result_id": "r1", "result_position": 1, "result_destination": "Lisbon"},
        "conversion": {"booking_value": 420.5, "currency": "EUR"},
    }[kind]
    moment = (NOW - timedelta(hours=hours)).isoformat()
    known = {"event_id": uid(number), "event_type": kind, "timestamp": moment, "session_id": session, "user_id": user}
    return known | own | more


HER_EVENTS = [
    event("search", 1, 50.5, HERS, None),  # before she logged in
    event("search", 2, 50, HERS, MAYA),
    event("click", 3, 49.9, HERS, MAYA, search_event_id=uid(2)),
    event("conversion", 4, 49.8, HERS, MAYA, click_event_id=uid(3)),
    event("search", 5, 5, HERS, MAYA),  # abandoned: an e-mail is due
    event("search", 6, 30, KIOSK, MAYA),
]
OTHER_EVENTS = [
    event("search", 20, 29, KIOSK, OMAR),
    event("click", 21, 28.9, KIOSK, OMAR, search_event_id=uid(20)),
    event("conversion", 22, 28.8, KIOSK, OMAR, click_event_id=uid(21)),
    event("search", 23, 20, "web-long", LONGER),
    event("click", 24, 19.9, "web-long", LONGER, search_event_id=uid(23)),
    event("search", 25, 10, "web-anon", None, invited_by=MAYA),  # another person's event that mentions her
]
LETTERS = [
    b'{"event_type": "search", "user_id": "maya-7f3a", "query": ',
    json.dumps(event("search", 7, 4, "web-other", None) | {"results_count": MAYA}).encode(),
    b'{"event_type": "click", "session_id": "' + HERS.encode() + b'"}',
    b'{"event_type": "search", "note": "no user of this company"}',
]
PROFILES = (
    "user_id,email,name,locale,updated_at,marketing_consent\n"
    f"{OMAR},omar@example.org,Omar Haddad,fr-CA,2026-01-02T00:00:00Z,true\n"
    f'{MAYA},{EMAIL},"{NAME}",sv-SE,2026-01-02T00:00:00Z,true\n'
    f'{MAYA},{EMAIL.upper()},"{NAME}",sv-SE,never,true\n'  # a letter
    f"{LONGER},b@example.org,Bea Longer,en-CA,2026-01-02T00:00:00Z,true\n"
)
IDENTIFIERS = [MAYA, EMAIL, NAME, HERS, *(document["event_id"] for document in HER_EVENTS)]


def lines(documents: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def publish(settings: Settings, documents: list[dict[str, Any]], letters: list[bytes] = []) -> None:  # noqa: B006
    """As a producer that batches: everything of a type in one compressed entry."""
    with streams.connect(settings) as client:
        for kind in streams.EVENT_TYPES:
            mine = lines([each for each in documents if each["event_type"] == kind])
            if kind == "search":
                mine += letters
            if mine:
                streams.publish(client, kind, mine, batch=500, codec="zstd")


# --- every byte


def traces(settings: Settings, *, servers: bool = True) -> dict[str, set[str]]:
    """Where the person is -> which identifiers: all files of the home, read as what they are and as bytes."""
    found: dict[str, set[str]] = {}
    places = _files(settings)
    if servers:
        places = (*places, *_databases(settings), *_stream_server(settings))
    for place, content in places:
        if place.startswith("valkey/"):  # compressed: a byte of the format may stand inside the longer user's name
            content = content.replace(f"{MAYA}.".encode(), b"")
        named = {word for word in IDENTIFIERS if _holds(content, word)}
        if named:
            found.setdefault(place, set()).update(named)
    return {_named(settings, place): words for place, words in found.items()}


def _named(settings: Settings, place: str) -> str:
    """A file of a table, with the table's name."""
    parts = place.split("/")
    if parts[:2] != ["postgres", "base"] or not parts[-1].isdigit():
        return place
    with psycopg.connect(postgres.server_conninfo(settings)) as connection:
        known = connection.execute("SELECT datname FROM pg_database WHERE oid = %s", [parts[2]]).fetchone()
    if known is None:
        return place
    database = known[0].removeprefix(settings.postgres_prefix)
    with psycopg.connect(postgres.conninfo(settings, database)) as connection:
        table = connection.execute("SELECT pg_filenode_relation(0, %s)::regclass::text", [parts[-1]]).fetchone()
    return f"{place} ({database}, {table[0] if table else 'no table'})"


def _holds(content: bytes, word: str) -> bool:
    """Also as JSON with only ASCII has it; not as the beginning of the longer user's name."""
    forms = {word.encode(), json.dumps(word)[1:-1].encode(), word.encode().hex().encode()}  # SQL shows bytes as hex
    if word == MAYA:
        # Statistics hold the first 256 bytes of a column's largest value, with the last byte raised by one: where the longer
        # user's name ends just there, it ends otherwise.
        raised = LONGER[:-1] + chr(ord(LONGER[-1]) + 1)
        content = content.replace(raised.encode(), b"").replace(raised.encode().hex().encode(), b"")
        content = content.replace(LONGER.encode(), b"").replace(LONGER.encode().hex().encode(), b"")
    return any(form in content for form in forms)


def _files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for path in sorted(settings.home.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = str(path.relative_to(settings.home))
        yield name, name.encode()
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a server's: it is gone
            continue
        yield name, content
        if path.suffix == ".gz":
            yield name, gzip.decompress(content)
        if path.suffix == ".parquet":
            yield name, _columns(path)


def _columns(path: Path) -> bytes:
    """All values of a Parquet file: on the disk they are compressed."""
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    return "\n".join(
        str(value) if not isinstance(value, bytes) else value.decode("latin-1") for row in rows for value in row
    ).encode()


def _databases(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every value of every table, the system's own included: what is compressed in a page is read here."""
    for database in postgres.DATABASES:
        with psycopg.connect(postgres.conninfo(settings, database), autocommit=True) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname <> 'information_schema'"
            ).fetchall()
            for (table,) in tables:
                rows = connection.execute(f"SELECT t::text FROM {table} AS t").fetchall()
                yield f"sql {database} {table}", "\n".join(row[0] or "" for row in rows).encode()


def _stream_server(settings: Settings) -> Iterator[tuple[str, bytes]]:
    with valkey.client(settings) as client:
        for key in client.scan_iter():
            name = f"key {key.decode()}"
            yield name, key
            kind = client.type(key)
            if kind == b"stream":
                for _, fields in client.xrange(key):
                    yield name, b"\n".join(streams.decode(fields))
            elif kind == b"hash":
                yield name, b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
            else:
                yield name, client.get(key) or b""
        yield "slow log", str(client.slowlog_get(1000)).encode()


def rows(settings: Settings, database: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(services.postgres_dsn(settings, database)) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


# --- an erasure that is killed

KILLED = """
import os, signal, sys, threading
from pathlib import Path
from generators.erasure import AnswerKeys
from searchflow.ingestion.worker import utc_now
from searchflow import erasure
from searchflow.settings import load_settings
home, user, last, delay = sys.argv[1:]
def die_in(step):
    if step == last:
        threading.Timer(float(delay), os.kill, [os.getpid(), signal.SIGKILL]).start()
erasure.forget(load_settings(home=Path(home)), user, clock=utc_now, more=[AnswerKeys()], on_step=die_in)
"""


def killed_in(settings: Settings, user: str, step: str, delay: str) -> subprocess.CompletedProcess[str]:
    """An erasure in a process of its own, killed so many seconds after a step begins; it ends by itself when it is done
    before."""
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.home), user, step, delay], cwd=ROOT, capture_output=True, text=True
    )

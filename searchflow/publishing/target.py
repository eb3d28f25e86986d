"""The place where marts are published: a PostgreSQL database with two schemas.

`published` holds the tables and what was written into them. `marts` holds a view for each table, and the reading role may
see nothing else. A table whose columns change is rebuilt, and its view is replaced in the same transaction: a reader sees
the old or the new table, never half of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from searchflow.errors import ConfigurationError, ServiceError
from searchflow.publishing.parts import Mart
from searchflow.services import locks, postgres
from searchflow.settings import Settings

DATABASE, ROLE = "bi", "bi"
STORE, SHOWN = "published", "marts"
STATE = f"""
CREATE SCHEMA IF NOT EXISTS {STORE};
CREATE SCHEMA IF NOT EXISTS {SHOWN};
CREATE TABLE IF NOT EXISTS {STORE}.marts (
    name text PRIMARY KEY, shape text NOT NULL, made_at timestamp, published_at timestamp NOT NULL, rows bigint NOT NULL,
    gate text NOT NULL, checks integer NOT NULL, checked_at timestamp);
CREATE TABLE IF NOT EXISTS {STORE}.parts (
    name text NOT NULL, part integer NOT NULL, rows bigint NOT NULL, digest text NOT NULL, PRIMARY KEY (name, part));
CREATE OR REPLACE VIEW {SHOWN}.trust AS
    SELECT name AS table_name, made_at AS data_as_of, gate, checks, checked_at, rows, published_at FROM {STORE}.marts;
"""


def conninfo(settings: Settings) -> str:
    """Return the connection string of SEARCHFLOW_PUBLISH_URL, or else of our own database on the platform's server."""
    if settings.publish_url is None:
        return postgres.conninfo(settings, DATABASE)
    return postgres.conninfo_of(settings, settings.publish_url, "SEARCHFLOW_PUBLISH_URL", "publish")


@contextmanager
def opened(settings: Settings) -> Iterator[psycopg.Connection]:
    """Open a connection that is the only one to publish, and make the schemas and the role.

    Raises:
        ConfigurationError: the user may not make what is needed.
        ServiceError: the server does not answer.
    """
    try:
        connection = psycopg.connect(conninfo(settings), options="-c TimeZone=UTC")
    except psycopg.OperationalError as error:
        where = "SEARCHFLOW_PUBLISH_URL" if settings.publish_url else "the platform's PostgreSQL"
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        raise ServiceError(f"{where} does not answer: {reason}. Check the address, then publish again.") from None
    with connection:
        try:
            connection.execute(
                "SELECT pg_advisory_lock(%s)", [locks.PUBLISHING]
            )  # until the connection ends, however it ends
            connection.execute(STATE)
            _make_role(connection, settings)
            connection.commit()
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                "SEARCHFLOW_PUBLISH_URL",
                f"its user may not do this: {str(error).splitlines()[0]}.",
                "Name a user that may create schemas and roles.",
            ) from None
        yield connection


def role(settings: Settings) -> str:
    """Return the role that may read what is published, and nothing else. It has no login: grant it to an account."""
    return f"{settings.postgres_prefix}{ROLE}"


def _make_role(connection: psycopg.Connection, settings: Settings) -> None:
    name = sql.Identifier(role(settings))
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role(settings)]).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
    database = connection.execute("SELECT current_database()").fetchone()
    assert database is not None
    for statement in (
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database[0]), name),
        sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(sql.Identifier(STORE)),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(SHOWN), name),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(sql.Identifier(SHOWN), name),
    ):
        connection.execute(statement)


def known_parts(connection: psycopg.Connection, mart: Mart) -> dict[int, tuple[int, str]]:
    """Return the published parts: part -> rows and digest. Empty when the table's shape has changed since."""
    shape = connection.execute(f"SELECT shape FROM {STORE}.marts WHERE name = %s", [mart.name]).fetchone()
    if shape is None or shape[0] != mart.shape:
        return {}
    rows = connection.execute(f"SELECT part, rows, digest FROM {STORE}.parts WHERE name = %s", [mart.name]).fetchall()
    return {part: (count, digest) for part, count, digest in rows}


def made_before(connection: psycopg.Connection) -> dict[str, tuple[datetime | None, str]]:
    """Return table -> when its model was last made at the time of publishing, and the table's shape then."""
    rows = connection.execute(f"SELECT name, made_at, shape FROM {STORE}.marts").fetchall()
    return {name: (made, shape) for name, made, shape in rows}


def replace_parts(
    connection: psycopg.Connection,
    settings: Settings,
    mart: Mart,
    *,
    rebuild: bool,
    changed: Mapping[int, tuple[int, str]],
    gone: Iterable[int],
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Replace the published parts by these, in the caller's transaction. With `rebuild`, make the whole table again."""
    store = sql.Identifier(STORE, mart.name.partition(".")[2])
    if rebuild:
        _make(connection, settings, mart, store)
    else:
        touched = [*changed, *gone]
        connection.execute(sql.SQL("DELETE FROM {} WHERE part = ANY(%s)").format(store), [touched])
        connection.execute(f"DELETE FROM {STORE}.parts WHERE name = %s AND part = ANY(%s)", [mart.name, touched])
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(store)) as copy:
        for batch in batches:
            copy.write(_as_csv(batch))
    parts = [(mart.name, part, count, digest) for part, (count, digest) in changed.items()]
    with connection.cursor().copy(f"COPY {STORE}.parts (name, part, rows, digest) FROM STDIN") as copy:
        for row in parts:
            copy.write_row(row)


def _make(connection: psycopg.Connection, settings: Settings, mart: Mart, store: sql.Composable) -> None:
    """Replace a table by one of this shape, together with its view and the role's right to read it."""
    view = sql.Identifier(SHOWN, mart.name.partition(".")[2])
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.published_type)) for column in mart.columns
    )
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in mart.columns)
    for statement in (
        sql.SQL("DROP VIEW IF EXISTS {}").format(view),
        sql.SQL("DROP TABLE IF EXISTS {}").format(store),
        sql.SQL("CREATE TABLE {} ({}, part integer NOT NULL)").format(store, columns),
        sql.SQL("CREATE INDEX ON {} (part)").format(store),
        sql.SQL("CREATE INDEX ON {} ({})").format(store, sql.Identifier(mart.columns[0].name)),
        sql.SQL("CREATE VIEW {} AS SELECT {} FROM {}").format(view, names, store),
        sql.SQL("GRANT SELECT ON {} TO {}").format(view, sql.Identifier(role(settings))),
    ):
        connection.execute(statement)
    connection.execute(f"DELETE FROM {STORE}.parts WHERE name = %s", [mart.name])


def remove(connection: psycopg.Connection, name: str) -> None:
    """Remove a published table that the lake no longer has."""
    short = name.partition(".")[2]
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(SHOWN, short)))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(STORE, short)))
    for table in ("marts", "parts"):
        connection.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(sql.Identifier(STORE, table)), [name])
    connection.commit()


def _as_csv(batch: pa.RecordBatch) -> bytes:
    """Return a batch as CSV with all values quoted but nulls, so that an empty text stays an empty text."""
    sink = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    pa.csv.write_csv(pa.Table.from_batches([batch]), sink, options)
    return bytes(sink.getvalue())


def note(connection: psycopg.Connection, name: str, facts: Mapping[str, Any]) -> None:
    """Record what was published of a table."""
    connection.execute(
        f"""
        INSERT INTO {STORE}.marts (name, shape, made_at, published_at, rows, gate, checks, checked_at)
        VALUES (%(name)s, %(shape)s, %(made_at)s, %(published_at)s, %(rows)s, %(gate)s, %(checks)s, %(checked_at)s)
        ON CONFLICT (name) DO UPDATE SET shape = excluded.shape, made_at = excluded.made_at,
            published_at = excluded.published_at, rows = excluded.rows, gate = excluded.gate, checks = excluded.checks,
            checked_at = excluded.checked_at
        """,
        {**facts, "name": name},
    )

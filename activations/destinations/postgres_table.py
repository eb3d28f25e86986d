"""A PostgreSQL table: COPY into a temporary table, then one upsert; leavers are marked or deleted.

destination:
  type: postgres_table
  database: crm                 # one of ours; SEARCHFLOW_POSTGRES_URL says on which server
  table: crm.user_segments
  leavers: {flag: is_active, left_at: left_at}   # leave out: rows of leavers are deleted
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
import psycopg
import pyarrow as pa
from msgspec import Meta
from psycopg import sql

from activations.base import KEY, Batch, Delivery, Destination, Operation, halves
from activations.columns import copy_in, copy_out
from activations.declaration import Field, Sync
from activations.errors import Retryable
from activations.ledger import utc
from searchflow import services
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

MODES = frozenset({"upsert", "mirror"})
# The warehouse's timestamps are UTC without a zone; a table that others read should say so.
TYPES = {"timestamp": "timestamptz", "double": "double precision"}

Column = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]


class Leavers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a row says that its user left the model."""

    flag: Column = "is_active"
    left_at: Column = "left_at"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sync file says about the table."""

    table: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
    database: Literal["crm"] = "crm"
    leavers: Leavers | None = None
    create: bool = True  # make schema and table when they are not there


def open_destination(sync: Sync, options: Options, settings: Settings) -> PostgresTable:
    """Does not connect yet."""
    return PostgresTable(sync, options, services.postgres_dsn(settings, options.database))


# --- errors: sorted by what happens next


class _Refused(Exception):
    """The batch holds a row that the table will never take."""


def _row_reason(error: psycopg.Error) -> str:
    """Says which rule and column; never the value, which is in the server's own message."""
    found = error.diag
    context = re.search(r"column (\w+)", found.context or "")
    place = found.constraint_name or found.column_name or (context.group(1) if context else None)
    return f"{type(error).__name__}{f' ({place})' if place else ''}"


@contextlib.contextmanager
def _sorted(where: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise _Refused(_row_reason(error)) from None
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise ConfigurationError(
            where,
            f"PostgreSQL answers {_row_reason(error)}.",
            "Correct the table (its key must be unique), its grants or the sync file.",
        ) from None
    except psycopg.Error as error:  # connection gone, shutdown, deadlock, disk full: may pass
        raise Retryable(f"PostgreSQL: {type(error).__name__}") from error


def _refuses_us(error: psycopg.OperationalError) -> bool:
    text = str(error)
    return any(part in text for part in ("authentication failed", "does not exist", "no pg_hba.conf entry"))


# --- the sender


class PostgresTable(Destination):
    """One connection, kept for the run; made anew after a failure."""

    def __init__(self, sync: Sync, options: Options, dsn: str) -> None:
        self._sync, self._options, self._dsn = sync, options, dsn
        self._where = f"activations/syncs/{sync.name}.yaml, destination.table"
        self._open: psycopg.Connection | None = None
        schema, table = options.table.split(".")
        self._target = sql.Identifier(schema, table)
        self._key = sql.Identifier(sync.key)
        self._fields = [sql.Identifier(field.name) for field in sync.fields]

    def prepare(self) -> None:
        """Make the table if it is ours to make, and check that it has every column."""
        with self._transaction() as cursor:
            found = self._columns(cursor)
            if not found and self._options.create:
                self._create(cursor)
                return
        wanted = [field.name for field in self._sync.fields]
        if self._options.leavers is not None:
            wanted += [self._options.leavers.flag, self._options.leavers.left_at]
        lacking = [name for name in wanted if name not in found]
        if lacking:
            raise ConfigurationError(
                self._where,
                f"{self._options.table} has no column {', '.join(lacking)}." if found else "there is no such table.",
                "Add it to the table, or correct the sync file.",
            )

    def deliver(self, batch: Batch) -> Delivery:
        """Upsert a batch in one transaction, or mark those who left."""
        try:
            with self._transaction() as cursor:
                if batch.operation is Operation.REMOVE:
                    self._remove(cursor, batch)
                else:
                    self._upsert(cursor, batch)
        except _Refused as error:
            return halves(self, batch, str(error))
        return Delivery()

    def read(self) -> pa.Table:
        """Rows of those who have not left."""
        leavers = self._options.leavers
        present = sql.SQL(" WHERE {}").format(sql.Identifier(leavers.flag)) if leavers else sql.SQL("")
        query = sql.SQL("SELECT {} FROM {}{}").format(sql.SQL(", ").join(self._fields), self._target, present)
        names = [field.name for field in self._sync.fields]
        with self._transaction() as cursor:
            if not self._columns(cursor):
                return pa.table({name: pa.array([], pa.string()) for name in names})
            return copy_out(cursor, query, names)

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> psycopg.Connection:
        if self._open is None or self._open.closed:
            try:
                self._open = psycopg.connect(self._dsn, connect_timeout=10, options="-c TimeZone=UTC")
            except psycopg.OperationalError as error:
                if _refuses_us(error):
                    raise ConfigurationError(
                        "SEARCHFLOW_POSTGRES_URL",
                        f"the server refused us, or has no database for {self._sync.name}.",
                        "Correct the URL, or create the database (searchflow up does).",
                    ) from None
                raise Retryable("PostgreSQL cannot be reached") from error
        return self._open

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor]:
        connection = self._connection()
        with _sorted(self._where), connection.transaction(), connection.cursor() as cursor:
            yield cursor

    def _columns(self, cursor: psycopg.Cursor) -> set[str]:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            self._options.table.split("."),
        )
        return {row[0] for row in cursor.fetchall()}

    def _create(self, cursor: psycopg.Cursor) -> None:
        columns = [self._declared(field) for field in self._sync.fields]
        if self._options.leavers is not None:
            flag, left_at = self._options.leavers.flag, self._options.leavers.left_at
            columns.append(sql.SQL("{} boolean NOT NULL DEFAULT true").format(sql.Identifier(flag)))
            columns.append(sql.SQL("{} timestamptz").format(sql.Identifier(left_at)))
        schema = sql.Identifier(self._options.table.split(".")[0])
        cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(self._target, sql.SQL(", ").join(columns)))

    def _declared(self, field: Field) -> sql.Composed:
        kind = sql.SQL(TYPES.get(field.type, field.type))  # matched by a pattern
        suffix = sql.SQL(" PRIMARY KEY") if field.name == self._sync.key else sql.SQL("")
        return sql.SQL("{} {}{}").format(sql.Identifier(field.name), kind, suffix)

    def _stage(self, cursor: psycopg.Cursor, columns: list[sql.Identifier], rows: pa.Table) -> None:
        # Made from the target, so that COPY converts to the types that the table really has.
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                sql.SQL(", ").join(columns), self._target
            )
        )
        copy_in(cursor, "incoming", rows)

    def _upsert(self, cursor: psycopg.Cursor, batch: Batch) -> None:
        self._stage(cursor, self._fields, batch.table.select([field.name for field in self._sync.fields]))
        names: list[sql.Composable] = list(self._fields)
        values: list[sql.Composable] = list(self._fields)
        updates = self._assignments()
        if self._options.leavers is not None:  # who is sent has not left
            flag, left_at = map(sql.Identifier, (self._options.leavers.flag, self._options.leavers.left_at))
            names += [flag, left_at]
            values += [sql.SQL("true"), sql.SQL("NULL")]
            updates.append(sql.SQL("{} = true, {} = NULL").format(flag, left_at))
        action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(updates)) if updates else sql.SQL("DO NOTHING")
        comma = sql.SQL(", ")
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM incoming ON CONFLICT ({}) {}").format(
                self._target, comma.join(names), comma.join(values), self._key, action
            )
        )

    def _assignments(self) -> list[sql.Composed]:
        return [sql.SQL("{} = excluded.{}").format(name, name) for name in self._fields if name != self._key]

    def _remove(self, cursor: psycopg.Cursor, batch: Batch) -> None:
        self._stage(cursor, [self._key], batch.table.select([KEY]).rename_columns([self._sync.key]))
        target, key, leavers = self._target, self._key, self._options.leavers
        if leavers is None:
            statement = "DELETE FROM {target} USING incoming WHERE {target}.{key} = incoming.{key}"
            cursor.execute(sql.SQL(statement).format(target=target, key=key))
            return
        # Only those still marked as active: a repeat must not move the moment they left.
        statement = (
            "UPDATE {target} AS t SET {flag} = false, {left_at} = {now} FROM incoming "
            "WHERE t.{key} = incoming.{key} AND t.{flag}"
        )
        cursor.execute(
            sql.SQL(statement).format(
                target=target,
                key=key,
                flag=sql.Identifier(leavers.flag),
                left_at=sql.Identifier(leavers.left_at),
                now=sql.Literal(utc(batch.now).isoformat() + "+00"),
            )
        )

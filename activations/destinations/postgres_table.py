"""A PostgreSQL table: COPY into a temporary table, then one upsert; leavers are marked or deleted.

destination:
  type: postgres_table
  database: crm                 # one of our own; SEARCHFLOW_POSTGRES_URL says on which server
  table: crm.user_segments
  leavers: {flag: is_active, left_at: left_at}   # leave out: rows of leavers are deleted
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import psycopg
import pyarrow as pa
from msgspec import Meta
from psycopg import sql

from activations.base import ABSENT, KEY, Batch, Delivery, Destination, Operation, Rejection, halves, utc
from activations.buckets import within
from activations.columns import copy_in, copy_out
from activations.declaration import Field, Sync
from activations.destinations import _postgres
from activations.errors import Retryable
from searchflow import services
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

MODES = frozenset({"upsert", "insert", "update", "mirror"})
KEEPS_FIELDS = True
GROUPS = False
DRIFT = frozenset({"ours", "theirs", "report"})
# The warehouse's timestamps are UTC without a zone; a table that others read should say so.
TYPES = {"timestamp": "timestamptz", "double": "double precision"}

Column = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]


class Leavers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The columns by which a row says that its user left the model."""

    flag: Column = "is_active"
    left_at: Column = "left_at"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a sync file about the table."""

    table: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
    database: Literal["crm"] = "crm"
    leavers: Leavers | None = None
    create: bool = True  # make schema and table when they are not there


def open_destination(sync: Sync, options: Options, settings: Settings) -> PostgresTable:
    """Return the destination; it does not connect yet."""
    return PostgresTable(sync, options, services.postgres_dsn(settings, options.database))


# --- the sender


class PostgresTable(Destination):
    """Destination with one connection, kept for the run and opened again after a failure."""

    def __init__(self, sync: Sync, options: Options, dsn: str) -> None:
        self._sync, self._options, self._dsn = sync, options, dsn
        self._where = f"activations/syncs/{sync.name}.yaml, destination.table"
        self._open: psycopg.Connection | None = None
        schema, table = options.table.split(".")
        self._target = sql.Identifier(schema, table)
        self._key = sql.Identifier(sync.key)
        self._fields = [sql.Identifier(field.name) for field in sync.fields]

    def prepare(self) -> None:
        """Create the table if the sync says so, and check that it has every column."""
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
        """Write a batch in one transaction, or mark those who left."""
        try:
            with self._transaction() as cursor:
                if batch.operation is Operation.REMOVE:
                    self._remove(cursor, batch)
                    return Delivery()
                self._stage(cursor, self._fields, batch.table.select([field.name for field in self._sync.fields]))
                if batch.operation is Operation.UPDATE:
                    return Delivery(self._update(cursor, batch))
                written = self._insert(cursor, batch)
        except _postgres.BatchRefused as error:
            return halves(self, batch, str(error))
        return Delivery(repeated=len(batch) - written)  # rows that were there, and were left so

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table:
        """Return the rows of those who have not left."""
        names = [field.name for field in self._sync.fields]
        query = sql.SQL("SELECT {} FROM {} WHERE {} AND {}").format(
            sql.SQL(", ").join(self._fields), self._target, self._present(), within(self._key, buckets)
        )
        with self._transaction() as cursor:
            if not self._columns(cursor):
                return pa.table({name: pa.array([], pa.string()) for name in names})
            return copy_out(cursor, query, names)

    def look(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of some keys, also of those who left, with every column that is there."""
        query = sql.SQL("SELECT * FROM {} WHERE {}::text = ANY(%s) ORDER BY 1").format(self._target, self._key)
        with self._transaction() as cursor:
            if not self._columns(cursor):
                return []
            cursor.execute(query, [list(keys)])
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def digests(self) -> pa.Table | None:
        """Return the digests; the server computes them from documents written as DuckDB writes them."""
        query = _postgres.digest_query(self._sync, self._target, self._present())
        with self._transaction() as cursor:
            return copy_out(cursor, query, ["bucket", "rows", "digest"]) if self._columns(cursor) else None

    def _present(self) -> sql.Composable:
        leavers = self._options.leavers
        return sql.Identifier(leavers.flag) if leavers else sql.SQL("true")

    def close(self) -> None:
        """Close the connection to the server."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> psycopg.Connection:
        if self._open is None or self._open.closed:
            try:
                self._open = psycopg.connect(self._dsn, connect_timeout=10, options="-c TimeZone=UTC")
            except psycopg.OperationalError as error:
                if _postgres.refuses_us(error):
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
        with _postgres.sorted_failures(self._where), connection.transaction(), connection.cursor() as cursor:
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

    def _insert(self, cursor: psycopg.Cursor, batch: Batch) -> int:
        """Insert rows and return how many were written; only an upsert changes those that are there."""
        names: list[sql.Composable] = list(self._fields)
        values: list[sql.Composable] = list(self._fields)
        updates = self._assignments(batch, "excluded")
        if self._options.leavers is not None:  # who is sent has not left
            flag, left_at = map(sql.Identifier, (self._options.leavers.flag, self._options.leavers.left_at))
            names += [flag, left_at]
            values += [sql.SQL("true"), sql.SQL("NULL")]
            updates.append(sql.SQL("{} = true, {} = NULL").format(flag, left_at))
        action: sql.Composable = sql.SQL("DO NOTHING")
        if batch.operation is Operation.UPSERT and updates:
            action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(updates))
        comma = sql.SQL(", ")
        cursor.execute(
            sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM incoming ON CONFLICT ({}) {}").format(
                self._target, comma.join(names), comma.join(values), self._key, action
            )
        )
        return int(cursor.rowcount)

    def _update(self, cursor: psycopg.Cursor, batch: Batch) -> tuple[Rejection, ...]:
        """Change rows that are there, and reject those that are not."""
        changes = self._assignments(batch, "i")
        if changes:
            cursor.execute(
                sql.SQL("UPDATE {} AS t SET {} FROM incoming i WHERE t.{} = i.{}").format(
                    self._target, sql.SQL(", ").join(changes), self._key, self._key
                )
            )
        cursor.execute(
            sql.SQL("SELECT i.{}::text FROM incoming i LEFT JOIN {} t ON t.{} = i.{} WHERE t.{} IS NULL").format(
                self._key, self._target, self._key, self._key, self._key
            )
        )
        return tuple(Rejection(key, ABSENT) for (key,) in cursor.fetchall())

    def _assignments(self, batch: Batch, source: str) -> list[sql.Composed]:
        left = {self._sync.key, *batch.keep}
        return [self._assignment(field, source) for field in self._sync.fields if field.name not in left]

    def _assignment(self, field: Field, source: str) -> sql.Composed:
        name = sql.Identifier(field.name)
        pattern = "{} = coalesce({}.{}, t.{})" if field.nulls == "keep" else "{} = {}.{}"
        return sql.SQL(pattern).format(name, sql.Identifier(source), name, name)

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

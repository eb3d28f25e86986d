"""The lake as the pages see it: read-only, one snapshot for each page, each answer kept until the data changes.

A page runs in one transaction, so all its numbers fit together while pipelines write. Answers are cached by the
snapshot's id: they are made again exactly when something was committed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

from searchflow import confined, read_only, warehouse
from searchflow.errors import ServiceError
from searchflow.ops import audit_log
from searchflow.settings import Settings, load_settings

MEMORY_LIMIT = "1GB"
"""The memory for the queries of all pages together: they read daily marts, and the pipelines need the rest."""
KEPT_ANSWERS = 500

_lock = threading.Lock()
_settings: Settings | None = None
_connection: duckdb.DuckDBPyConnection | None = None
_answers: OrderedDict[tuple[Any, ...], pa.Table] = OrderedDict()
_tables: dict[str, set[str]] = {}
"""Text of a query -> the tables that it reads."""


class NotBuiltError(Exception):
    """Error: a page's tables do not exist yet."""

    def __init__(self, missing: list[str]) -> None:
        self.missing = missing
        super().__init__(", ".join(missing))


def configure(settings: Settings | None) -> None:
    """Use these settings from now on (None: those of the environment), and forget what was read with others."""
    global _settings, _connection
    with _lock:
        if _connection is not None:
            _connection.close()
        _settings, _connection = settings, None
        _answers.clear()
        _tables.clear()


def current_settings() -> Settings:
    """Return the settings that the server was started with; the environment's when started otherwise."""
    global _settings
    with _lock:
        if _settings is None:
            _settings = load_settings()
        return _settings


class Reading:
    """A reader whose answers come from one snapshot."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, snapshot: int) -> None:
        self.cursor = cursor
        self.snapshot = snapshot

    def table(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the answer to a query; values are bound as `$name`."""
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in (parameters or {}).items()}
        key = (self.snapshot, sql, tuple(sorted(given.items())))
        with _lock:
            known = _answers.get(key)
            if known is not None:
                _answers.move_to_end(key)
                return known
        bound = {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}
        tables = _tables_read(self.cursor, sql, bound)
        found = self.cursor.execute(sql, bound or None).to_arrow_table()
        audit_log.append_query(current_settings(), sql, found.num_rows, tables=tables)
        with _lock:
            _answers[key] = found
            while len(_answers) > KEPT_ANSWERS:
                _answers.popitem(last=False)
        return found

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the answer to a query as a list of rows."""
        return list(self.table(sql, parameters).to_pylist())

    def row(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the only row of an aggregate."""
        return self.rows(sql, parameters)[0]

    def tables(self) -> frozenset[str]:
        """Return every table and view of the lake, as `schema.name`."""
        found = self.table(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
            "WHERE table_catalog = $lake",
            {"lake": warehouse.CATALOG},
        )
        return frozenset(found["name"].to_pylist())

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a table; none when it does not exist."""
        found = self.table(
            "SELECT column_name AS name FROM information_schema.columns "
            "WHERE table_catalog = $lake AND table_schema || '.' || table_name = $table",
            {"lake": warehouse.CATALOG, "table": table},
        )
        return frozenset(found["name"].to_pylist())

    def require(self, *names: str) -> None:
        """Check that tables exist.

        Raises:
            NotBuiltError: some do not, yet.
        """
        there = self.tables()
        missing = [name for name in names if name not in there]
        if missing:
            raise NotBuiltError(missing)


def _tables_read(cursor: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any]) -> set[str]:
    """Return what a query of a page reads, by the same rule as a person's query; judged once for each text."""
    with _lock:
        known = _tables.get(sql)
    if known is None:
        known = read_only.tables_read(cursor, sql, values)
        with _lock:
            _tables[sql] = known
    return known


@contextmanager
def reading() -> Iterator[Reading]:
    """Hold one snapshot for as long as the block lasts.

    Raises:
        ServiceError: the warehouse does not answer.
    """
    cursor = _begin()
    try:
        yield Reading(cursor, warehouse.snapshot_id(cursor))
    finally:
        with suppress(duckdb.Error):
            cursor.execute("ROLLBACK")
        cursor.close()


def _begin() -> duckdb.DuckDBPyConnection:
    """Return a cursor inside a transaction. A connection that outlived its server is replaced, once."""
    for attempt in (1, 2):
        cursor = _connect().cursor()
        try:
            cursor.execute(f"USE {warehouse.CATALOG}; SET TimeZone = 'UTC'; {'; '.join(confined.JUDGED)}; BEGIN")
            warehouse.snapshot_id(cursor)
        except duckdb.Error as error:
            cursor.close()
            _disconnect()
            if attempt == 2:
                raise ServiceError(
                    f"The warehouse does not answer: {str(error).splitlines()[0][:200]}. Run `searchflow status`."
                ) from error
        else:
            return cursor
    raise AssertionError("unreachable")


def _connect() -> duckdb.DuckDBPyConnection:
    global _connection
    settings = current_settings()
    with _lock:
        if _connection is None:
            _connection = warehouse.connect(settings, read_only=True, memory_limit=MEMORY_LIMIT)
            confined.confine(_connection, settings, locked=False)
        return _connection


def _disconnect() -> None:
    global _connection
    with _lock:
        if _connection is not None:
            with suppress(duckdb.Error):
                _connection.close()
        _connection = None

"""Limits for SQL that a person wrote: no file, no network, only a SELECT, only harmless table functions.

The statement is read as DuckDB parses it, so no spelling can hide a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from searchflow.errors import UsageError
from searchflow.fetching import first_row
from searchflow.settings import Settings

JUDGED = ("SET explain_output = 'all'", "SET python_enable_replacements = false")
"""The settings of each session whose queries `searchflow.read_only` judges."""


def confine(connection: duckdb.DuckDBPyConnection, settings: Settings, *, locked: bool = True) -> None:
    """Take from a connection what a person's query must not have: other files, the network, other extensions, and Python's
    variables. The lake's folder stays open; `searchflow.read_only` judges what a query reads of it. With `locked=False` our
    own code can still change settings later, such as the time zone."""
    if "://" in settings.data_path:
        connection.execute("LOAD httpfs")  # once access is off, DuckDB can no longer load it by itself
    for statement in JUDGED:
        connection.execute(statement)
    connection.execute("SET allowed_directories = ?", [[settings.data_path]])
    connection.execute("SET enable_external_access = false")
    if locked:
        connection.execute("SET lock_configuration = true")


HARMLESS_TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "duckdb_tables", "duckdb_columns", "duckdb_views"}
)
"""The only table functions that a person's query may call. Others run SQL from strings or on the catalog's own server."""


def table_functions(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Return the names of the table functions that a SELECT calls, wherever they stand in it."""
    return {
        str(node.get("function", {}).get("function_name", "?")).lower()
        for node in _nodes(connection, sql)
        if node.get("type") == "TABLE_FUNCTION"
    }


def tables_named(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Return the tables that a SELECT names with their schema, wherever they stand in it and however they are written."""
    return {".".join(name[-2:]) for name in names_in(connection, sql)}


def names_in(connection: duckdb.DuckDBPyConnection, sql: str) -> set[tuple[str, ...]]:
    """Return the tables that a SELECT names with their schema, in parts: catalog (when it is written), schema and table."""
    return {
        tuple(part for part in (node.get("catalog_name"), node["schema_name"], node["table_name"]) if part)
        for node in _nodes(connection, sql)
        if node.get("type") == "BASE_TABLE" and node.get("schema_name")
    }


def _nodes(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[dict[str, Any]]:
    """Yield every node of a SELECT as DuckDB parses it."""
    row = first_row(connection.execute("SELECT json_serialize_sql(?)", [sql]))
    assert row is not None
    document = json.loads(row[0])
    if document.get("error"):
        raise UsageError("Only a plain SELECT is allowed here. Rewrite the query as one.")
    pending: list[Any] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)

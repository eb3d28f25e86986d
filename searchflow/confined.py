"""What SQL that a person wrote may read: only the lake, only a SELECT, only harmless table functions.

The statement is read as DuckDB parses it, so no way of writing a name hides one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from searchflow.errors import UsageError
from searchflow.settings import Settings


def confine(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Take from a connection what a person's query must not have: other files, the network, other extensions."""
    connection.execute("SET allowed_directories = ?", [[settings.data_path]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


HARMLESS_TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "duckdb_tables", "duckdb_columns", "duckdb_views"}
)
"""All that a person's query may call in FROM. Others run SQL from strings or on the catalog's own server."""


def table_functions(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Names of the table functions that a SELECT calls, wherever they stand in it."""
    return {
        str(node.get("function", {}).get("function_name", "?")).lower()
        for node in _nodes(connection, sql)
        if node.get("type") == "TABLE_FUNCTION"
    }


def tables_named(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Tables that a SELECT names with their schema, wherever they stand in it and however they are written."""
    return {
        f"{node['schema_name']}.{node['table_name']}"
        for node in _nodes(connection, sql)
        if node.get("type") == "BASE_TABLE" and node.get("schema_name")
    }


def _nodes(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[dict[str, Any]]:
    """Every node of a SELECT as DuckDB parses it."""
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
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

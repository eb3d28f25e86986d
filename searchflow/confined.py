"""How SQL that a person wrote is confined: no file, no network, only a SELECT, only harmless table functions.

The statement is read as DuckDB parses it, so no way of writing a name hides one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from searchflow.errors import UsageError
from searchflow.settings import Settings

JUDGED = ("SET explain_output = 'all'", "SET python_enable_replacements = false")
"""Settings of each session whose queries `searchflow.read_only` judges."""


def confine(connection: duckdb.DuckDBPyConnection, settings: Settings, *, locked: bool = True) -> None:
    """Take from a connection what a person's query must not have: other files, the network, other extensions, variables of
    Python. What is left of the lake's folder is judged by `searchflow.read_only`. Not `locked`: our own code may still choose
    the time zone, for example."""
    if "://" in settings.data_path:
        connection.execute("LOAD httpfs")  # later it could not be loaded by itself
    for statement in JUDGED:
        connection.execute(statement)
    connection.execute("SET allowed_directories = ?", [[settings.data_path]])
    connection.execute("SET enable_external_access = false")
    if locked:
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
    return {".".join(name[-2:]) for name in names_in(connection, sql)}


def names_in(connection: duckdb.DuckDBPyConnection, sql: str) -> set[tuple[str, ...]]:
    """Return the tables that a SELECT names with their schema, in parts: catalog (where it is written), schema and table."""
    return {
        tuple(part for part in (node.get("catalog_name"), node["schema_name"], node["table_name"]) if part)
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

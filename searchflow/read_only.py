"""The limit of what a person's query may read: tables of the lake, and the ledger's log of rows, but nothing else.

This module judges the plan that DuckDB has bound, not the text: in the text, a path in the place of a table, another attached
database and the sources of a view look alike. The catalog's own server is attached too, because DuckLake needs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from searchflow import confined, warehouse
from searchflow.errors import UsageError

LEDGER_TABLE = ("ledger", "activation", "sync_rows")
LAKE_SCAN, LEDGER_SCAN = "DUCKLAKE_SCAN", "POSTGRES_SCAN"
WITHOUT_TABLE = frozenset({"DUMMY_SCAN", "CHUNK_GET", "EXPRESSION_GET", "EMPTY_RESULT", "CTE_SCAN", "DELIM_GET"})
"""The leaves of a plan that read no stored data."""
OF_VIEWS = frozenset({"ducklake_snapshots"})
"""The table functions of the lake's own views; a query may not call them itself."""
OF_DUCKDB = frozenset({"information_schema", "pg_catalog"})
"""The schemas of DuckDB's own views; what these views read is judged with the plan."""

Name = tuple[str, ...]


def tables_read(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None) -> set[str]:
    """Return the tables that one SELECT reads, as `schema.table`: those that it names, and those behind views.

    DuckDB binds the query for this, so call it on a connection after `confined.confine`.

    Raises:
        UsageError: the query reads something else.
        duckdb.Error: the query cannot be bound.
    """
    plan = _bound_plan(connection, sql, values)
    named = {tuple(part.lower() for part in name) for name in confined.names_in(connection, sql)}
    schemas = _schemas(connection)
    for name in sorted(named):
        if not _allowed(name, schemas):
            raise _refused(".".join(name))
    functions = _table_functions(connection)
    scanned = set()
    for node in _nodes(plan):
        label, table = str(node["name"]).strip().upper(), node.get("extra_info", {}).get("Table")
        if label == LAKE_SCAN:
            scanned.add(str(table))
        elif label == LEDGER_SCAN:
            if LEDGER_TABLE not in named or table != LEDGER_TABLE[-1]:
                raise _refused("a table of a server")
        elif _reaches_out(label, bool(node.get("children")), functions):
            raise _refused(label.lower())
    return {".".join(name[-2:]) for name in named} | _with_schema(connection, scanned)


def _reaches_out(label: str, has_children: bool, functions: frozenset[str]) -> bool:
    """Return True for a part of a plan that reads something by itself and is not known to be harmless."""
    harmless = confined.HARMLESS_TABLE_FUNCTIONS | OF_VIEWS
    if label.lower() in harmless or label in WITHOUT_TABLE:
        return False
    return not has_children or label.lower() in functions


def _refused(what: str) -> UsageError:
    return UsageError(
        f"The query reads {what}, which is not a table of the lake. `searchflow tables` lists those that can be read."
    )


def _allowed(name: Name, schemas: frozenset[str]) -> bool:
    """Return True for a table in a schema of the lake, for DuckDB's own views, and for the ledger's log of rows."""
    if name == LEDGER_TABLE:
        return True
    return (len(name) == 2 or name[0] == warehouse.CATALOG) and name[-2] in schemas | OF_DUCKDB


def _schemas(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the schemas of the lake, in lower case, that share their name with no attached database."""
    rows = connection.execute(
        "SELECT lower(schema_name) FROM duckdb_schemas() WHERE database_name = ? "
        "EXCEPT SELECT lower(database_name) FROM duckdb_databases()",
        [warehouse.CATALOG],
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _table_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type = 'table'"
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _with_schema(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> set[str]:
    """Return the lake's tables with these names, with their schemas.

    A plan names the tables that it scans without their schema, so all tables with an equal name are returned.
    """
    rows = connection.execute(
        "SELECT lower(schema_name || '.' || table_name) FROM duckdb_tables() "
        "WHERE database_name = ? AND list_contains(?::VARCHAR[], table_name)",
        [warehouse.CATALOG, sorted(tables)],
    ).fetchall()
    return {row[0] for row in rows}


def _bound_plan(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None) -> list[Any]:
    """Return the plan before DuckDB optimizes it, so that it still has the scans that the optimizer would leave out."""
    rows = connection.execute(f"EXPLAIN (FORMAT json) {sql}", values or None).fetchall()
    plans = dict(row[:2] for row in rows)
    if "logical_plan" not in plans:
        raise UsageError("Only a plain SELECT is allowed here. Rewrite the query as one.")
    return list(json.loads(plans["logical_plan"]))


def _nodes(plan: list[Any]) -> Iterator[dict[str, Any]]:
    pending = list(plan)
    while pending:
        node = pending.pop()
        yield node
        pending += node.get("children", [])

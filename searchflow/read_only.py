"""What a query for people may read: tables of the lake, and the ledger's log of rows. Nothing else that DuckDB could reach.

Judged is the plan that DuckDB has bound, not the text: a path in the place of a table, another attached database and what a
view is made of look alike in the text. The catalog's own server is attached too, because DuckLake needs it.
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
"""Leaves of a plan that read nothing which is stored."""
OF_VIEWS = frozenset({"ducklake_snapshots"})
"""Table functions of the lake's own views; a query may not call them itself."""
OF_DUCKDB = frozenset({"information_schema", "pg_catalog"})
"""Schemas of DuckDB's own views; what those read is judged with the plan."""

Name = tuple[str, ...]


def tables_read(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None) -> set[str]:
    """Names of the tables that one SELECT reads, `schema.table` each: those it names, and those behind views. It is bound for
    that: call this on a connection after `confined.confine`.

    Raises:
        UsageError: it reads something else.
        duckdb.Error: it cannot be bound.
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
    """True for a part of a plan that reads something by itself, and is not known to be harmless."""
    harmless = confined.HARMLESS_TABLE_FUNCTIONS | OF_VIEWS
    if label.lower() in harmless or label in WITHOUT_TABLE:
        return False
    return not has_children or label.lower() in functions


def _refused(what: str) -> UsageError:
    return UsageError(
        f"The query reads {what}, which is no table of the lake. `searchflow tables` lists those that can be read."
    )


def _allowed(name: Name, schemas: frozenset[str]) -> bool:
    """True for a table of the lake by its schema, for DuckDB's own views, and for the ledger's log of rows."""
    if name == LEDGER_TABLE:
        return True
    return (len(name) == 2 or name[0] == warehouse.CATALOG) and name[-2] in schemas | OF_DUCKDB


def _schemas(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Schemas of the lake, in lower case, that share their name with no attached database."""
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
    """Tables of the lake that a plan scans: it says their names without the schema, so that equal ones are all named."""
    rows = connection.execute(
        "SELECT lower(schema_name || '.' || table_name) FROM duckdb_tables() "
        "WHERE database_name = ? AND list_contains(?::VARCHAR[], table_name)",
        [warehouse.CATALOG, sorted(tables)],
    ).fetchall()
    return {row[0] for row in rows}


def _bound_plan(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None) -> list[Any]:
    """The plan before DuckDB optimizes it: a scan that it would leave out is still in it."""
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

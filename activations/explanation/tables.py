"""Rows of the warehouse for people: as dictionaries, with what is personal masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from activations.planner import MASK
from searchflow.fetching import first_row

PERSONAL: dict[str, tuple[str, ...]] = {
    "marts.dim_users": ("locale", "time_zone", "marketing_consent", "name", "email"),
    "marts.mart_user_segments": (),
    "marts.mart_abandoned_searches": ("query", "marketing_consent"),
    "intermediate.int_search_sessions": ("landing_query",),
}
"""Table that is shown -> its personal columns. A test compares them with the marks that follow lineage."""


def rows(connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query as dictionaries."""
    cursor = connection.execute(query, list(values))
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def of_user(
    connection: duckdb.DuckDBPyConnection, table: str, user: str, *, personal: bool, order: str = "ALL"
) -> list[dict[str, Any]]:
    """Return a table's rows of a user; none while the table is not there."""
    if not exists(connection, table):
        return []
    found = rows(connection, f"SELECT * FROM {table} WHERE user_id = ? ORDER BY {order}", [user])
    return found if personal else [masked(row, PERSONAL[table]) for row in found]


def masked(row: dict[str, Any], personal: Sequence[str]) -> dict[str, Any]:
    """Return a row with its personal values masked."""
    return {name: MASK if name in personal and value is not None else value for name, value in row.items()}


def exists(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Return whether the table was made yet."""
    schema, _, name = table.partition(".")
    return bool(
        first_row(
            connection.execute(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", [schema, name]
            )
        )
    )

"""Reading results of DuckDB to their end."""

from __future__ import annotations

from typing import Any

import duckdb


def first_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...] | None:
    """Return the first row of a query that finds one row or a few, or None when it finds none.

    DuckDB streams results. After `fetchone` the query is not over: its transaction, and with it a lock on tables of the
    catalog in PostgreSQL, stays until the connection's next statement. On a connection that then waits for events or for a
    destination, that holds up processes that change those tables, such as `forget`. This reads to the end.
    """
    rows = result.fetchall()
    return rows[0] if rows else None

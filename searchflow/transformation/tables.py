"""Tables: how many rows each of them holds."""

from __future__ import annotations

import duckdb

SCHEMAS = ("raw", "marts", "activation")


def table_rows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the rows of every raw table, mart and activation model that exists: {"marts.dim_users": 1234, ...}."""
    names = [
        f"{schema}.{table}"
        for schema, table in connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_database() AND list_contains(?, table_schema) ORDER BY ALL",
            [list(SCHEMAS)],
        ).fetchall()
    ]
    if not names:
        return {}
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names)
    found = dict(connection.execute(counts).fetchall())
    return {name: found[name] for name in names}

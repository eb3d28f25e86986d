"""Quarantine: rows that a suite's last run put there (`ops.quarantined_rows`) are neither sent nor taken back.

A suite of the sync's gate names a row by its key. The model's rows that carry the same key (or the part of it that the
model has) are left out; what the destination holds of them stays as it is until the row is right again.
"""

from __future__ import annotations

import duckdb

from activations.base import KEY
from activations.declaration import Sync
from searchflow.fetching import first_row
from searchflow.quoting import literal, quoted

CHECKED = "temp.checked_rows"
"""The model's rows without those in quarantine, once `leave_out` was called."""
SENDABLE = "temp.sendable_rows"
"""The table that a sync reads instead of its model: `checked_rows` without users who are held out
(`activations.holdout`)."""
HELD_KEYS = "temp.held_keys"


def leave_out(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    """Make `checked_rows` (the model without quarantined rows) and `held_keys`. Return how many rows are left out."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE {quoted(sync.model)}").fetchall()]
    _read_quarantine(connection, sync)
    condition = _condition(connection, columns)
    model, key, named = quoted(sync.model), quoted(source_of_key(sync)), literal(f"$.{source_of_key(sync)}")
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW checked_rows AS SELECT * FROM {model} AS m WHERE NOT ({condition})"
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE held_keys AS
        SELECT DISTINCT coalesce(m.{key}::VARCHAR, '') AS {KEY} FROM {model} AS m WHERE {condition}
        UNION SELECT (key ->> {named}) FROM temp.quarantine WHERE (key ->> {named}) IS NOT NULL
    """)
    row = first_row(connection.execute(f"SELECT count(*) FROM {model} AS m WHERE {condition}"))
    return int(row[0]) if row else 0


def source_of_key(sync: Sync) -> str:
    """Return the model's column for the key."""
    return next(field.source for field in sync.fields if field.name == sync.key)


def _read_quarantine(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    """Create `quarantine`: keys of the last run of each suite of the gate, with the names in them."""
    suites = ", ".join(literal(name) for name in sync.gate)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE quarantine AS
        WITH last_runs AS (
            SELECT suite, run_id FROM ops.validation_results
            WHERE suite IN ({suites}) OR split_part(suite, '.', 1) IN ({suites})
            GROUP BY suite, run_id
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY max(checked_at) DESC, run_id DESC) = 1
        )
        SELECT DISTINCT suite, key, list_sort(json_keys(key)) AS names
        FROM ops.quarantined_rows JOIN last_runs USING (suite, run_id)
    """)


def _condition(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> str:
    """Return SQL that is true of a row `m` of the model whose key is in quarantine."""
    shapes = connection.execute("SELECT DISTINCT names FROM temp.quarantine ORDER BY ALL").fetchall()
    conditions = []
    for (names,) in shapes:
        shared = [name for name in names if name in columns]
        if not shared:
            continue
        pairs = " AND ".join(
            f"(q.key ->> {literal(f'$.{name}')}) IS NOT DISTINCT FROM m.{quoted(name)}::VARCHAR" for name in shared
        )
        conditions.append(f"EXISTS (SELECT 1 FROM temp.quarantine AS q WHERE q.names = {names!r} AND {pairs})")
    return " OR ".join(conditions) or "FALSE"

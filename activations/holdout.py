"""Holdout: a share of the users is held out of a sync, so that one can see what the sync changes.

    holdout: {share: 0.1, seed: abandoned-2026}     # and perhaps: field: user_id, existing: keep or remove

Who is held out follows from the user and the seed alone (`searchflow.holdout`). In the run that would first have sent
them, users of both arms are written down in `ops.sync_assignments`, before anything is sent: from then on what they
book is compared (`marts.mart_sync_lift`). Rows that the destination already has stay there, and their users are in
neither arm, unless the file says `existing: remove`.
"""

from __future__ import annotations

from datetime import datetime

import duckdb

from activations import quarantine
from activations.base import KEY, utc
from activations.declaration import Holdout, Sync
from searchflow.fetching import first_row
from searchflow.quoting import literal, quoted

HELD_OUT, TREATED = "held_out", "treated"
UNIT = "__unit"


def keep_out(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    """Make `sendable_rows` (what may be sent) from `checked_rows`, without held-out rows. Return how many rows those
    are. Reads `sent_rows`."""
    held_out = "FALSE"
    if sync.holdout is not None:
        _list_units(connection, sync, sync.holdout)
        unit = quoted(sync.source_of(sync.holdout.field))
        held_out = f"coalesce(m.{unit}::VARCHAR IN (SELECT {UNIT} FROM temp.held_out_units), FALSE)"
        if sync.holdout.existing == "keep":
            key = quoted(quarantine.source_of_key(sync))
            held_out += f" AND m.{key}::VARCHAR NOT IN (SELECT key FROM temp.sent_rows)"
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW sendable_rows AS SELECT * FROM {quarantine.CHECKED} AS m WHERE NOT ({held_out})"
    )
    if sync.holdout is None:
        return 0
    row = first_row(connection.execute(f"SELECT count(*) FROM {quarantine.CHECKED} AS m WHERE {held_out}"))
    return int(row[0]) if row else 0


def _list_units(connection: duckdb.DuckDBPyConnection, sync: Sync, holdout: Holdout) -> None:
    """Create `units` (users of the model's rows that take part, with their keys) and `held_out_units` (those held
    out)."""
    unit, key = quoted(sync.source_of(holdout.field)), quoted(quarantine.source_of_key(sync))
    fallback = getattr(
        getattr(sync.options(), "fallback", None), "key", None
    )  # belongs to no user: the rows for all others
    others = f"AND {unit}::VARCHAR <> {literal(fallback)}" if fallback is not None else ""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE units AS
        SELECT DISTINCT {unit}::VARCHAR AS {UNIT}, {key}::VARCHAR AS {KEY} FROM {quarantine.CHECKED}
        WHERE {unit} IS NOT NULL AND {key} IS NOT NULL {others}
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE held_out_units AS
        SELECT DISTINCT {UNIT} FROM temp.units WHERE {holdout.rule.sql(UNIT)}
    """)


def assign(connection: duckdb.DuckDBPyConnection, sync: Sync, run_id: str, now: datetime) -> int:
    """Write down who takes part from now on, each user once for each seed. Return how many are new."""
    holdout = sync.holdout
    if holdout is None:
        return 0
    known = "" if holdout.existing == "remove" else f"WHERE {KEY} NOT IN (SELECT key FROM temp.sent_rows)"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE new_units AS
        SELECT DISTINCT {UNIT} FROM temp.units {known}
        EXCEPT SELECT unit FROM ops.sync_assignments WHERE sync = ? AND seed = ?
        """,
        [sync.name, holdout.seed],
    )
    row = first_row(connection.execute("SELECT count(*) FROM temp.new_units"))
    new = int(row[0]) if row else 0
    if new:  # a run with nothing new writes nothing
        connection.execute(
            f"""
            INSERT INTO ops.sync_assignments (sync, seed, share, unit, arm, assigned_at, run_id)
            SELECT ?, ?, ?, {UNIT}, if({UNIT} IN (SELECT {UNIT} FROM temp.held_out_units), '{HELD_OUT}', '{TREATED}'), ?, ?
            FROM temp.new_units ORDER BY {UNIT}
            """,
            [sync.name, holdout.seed, holdout.share, utc(now), run_id],
        )
    return new

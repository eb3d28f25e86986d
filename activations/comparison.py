"""The three-way comparison: what was last sent, what the model says now, what the destination holds now. Set-wise.

Makes the temporary table `drift`: one row per key that differs, with both hashes and rows, and the fields that differ.
Two differences are none: a row that is already what the model says now (a run was killed between delivery and record;
the next run records it), and an edit of fields that belong to the destination (`drift: theirs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import duckdb
import msgspec
import pyarrow as pa

from activations import buckets, planner, quarantine
from activations.base import DOCUMENT, HASH, KEY, KIND, Destination
from activations.buckets import Scope
from activations.declaration import Sync
from activations.run import Run, open_destination
from activations.shape import shaped
from searchflow.errors import UsageError
from searchflow.fetching import first_row
from searchflow.quoting import literal, quoted


@dataclass(frozen=True)
class Compared:
    """Counts of keys. `settled` are already what the model says; `accepted` differ in the destination's own fields."""

    expected: int
    found: int
    settled: int
    accepted: int
    read: int  # rows read from the destination; the others were compared by digest


def compare(run: Run) -> Compared:
    """Fill `drift` and count.

    Raises:
        UsageError: the destination cannot be read back.
    """
    connection, sync = run.connection, run.sync
    with closing(open_destination(sync, run.settings)) as destination:
        scope = run.retries.call(sync.name, lambda: _scope(run, destination))
        held = run.retries.call(sync.name, lambda: _read(sync, destination, scope.buckets))
    _write_found(connection, sync, held)
    query = literal(buckets.sent_rows(sync.name, scope.buckets).as_string(None))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sent_rows AS SELECT * FROM postgres_query('ledger', {query})")
    _write_drift(connection, sync)
    settled = _drop_settled(connection, sync) if _count(connection, "drift") else 0
    _write_fields(connection, sync)
    return Compared(
        expected=scope.agreed + _count(connection, "sent_rows"),
        found=scope.agreed + _count(connection, "found_rows"),
        settled=settled,
        accepted=_drop_accepted(connection, sync),
        read=_count(connection, "found_rows"),
    )


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = first_row(connection.execute(f"SELECT count(*) FROM temp.{table}"))
    return int(row[0]) if row else 0


def _scope(run: Run, destination: Destination) -> Scope:
    # What was sent once is compared by key alone: its content may have changed hands.
    theirs = None if run.sync.once else destination.digests()
    return Scope() if theirs is None else buckets.scope(run.ledger.digests(run.sync), theirs)


def _read(sync: Sync, destination: Destination, wanted: Sequence[int] | None) -> pa.Table:
    held = destination.read(wanted)
    if held is None:
        raise UsageError(
            f"The destination of {sync.name} ({sync.kind}) cannot be read back, so there is nothing to "
            "compare. Name another sync."
        )
    for field in sync.fields:
        if field.name not in held.column_names:
            held = held.append_column(field.name, pa.nulls(held.num_rows, pa.string()))
    return held


def _write_found(connection: duckdb.DuckDBPyConnection, sync: Sync, held: pa.Table) -> None:
    """Create `found_rows`: what the destination holds, in the form of the model's rows."""
    fields = [msgspec.structs.replace(field, column=None) for field in sync.fields]
    as_named_there = msgspec.structs.replace(sync, fields=fields)
    connection.register("held", held)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE found_rows AS
        SELECT {KEY}, {HASH}, {DOCUMENT} FROM ({shaped(as_named_there, "held")})
    """)
    connection.unregister("held")


def _write_drift(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    differs = "false" if sync.once else f"f.{HASH} <> s.hash"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE drift AS
        SELECT coalesce(s.key, f.{KEY}) AS {KEY}, s.hash AS sent_hash, s.row AS sent_row, f.{HASH} AS found_hash,
            f.{DOCUMENT} AS found_row,
            CASE WHEN f.{KEY} IS NULL THEN 'missing' WHEN s.key IS NULL THEN 'unexpected' ELSE 'different' END AS {KIND}
        FROM temp.sent_rows s FULL JOIN temp.found_rows f ON f.{KEY} = s.key
        WHERE f.{KEY} IS NULL OR s.key IS NULL OR {differs}
    """)


def _drop_settled(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    """Read the model's rows of these keys into `model_rows`, and drop what is there as the model says it."""
    planner.check_model(connection, sync)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW drifted_source AS SELECT * FROM {quoted(sync.model)}
        WHERE {quoted(quarantine.source_of_key(sync))}::VARCHAR IN (SELECT {KEY} FROM temp.drift)
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE model_rows AS
        SELECT {KEY}, {HASH}, {DOCUMENT} FROM ({shaped(sync, "temp.drifted_source")})
    """)
    left = "found_hash IS NULL AND model_hash IS NULL" if sync.mode == "mirror" else "false"
    row = first_row(
        connection.execute(f"""
        DELETE FROM temp.drift USING (
            SELECT d.{KEY} AS key, m.{HASH} AS model_hash
            FROM temp.drift d LEFT JOIN temp.model_rows m USING ({KEY})) AS now
        WHERE drift.{KEY} = now.key AND (found_hash = model_hash OR ({left}))
    """)
    )
    return int(row[0]) if row else 0


def _write_fields(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    """Add to `drift` the names of the fields that differ; none where it is not known what was sent."""
    sent = "sent_row"
    if _count(connection, "drift"):  # the ledger may not keep the row, but the model's may be the same still
        sent = f"coalesce(sent_row, (SELECT {DOCUMENT} FROM temp.model_rows m WHERE m.{KEY} = d.{KEY} AND {HASH} = sent_hash))"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE drift AS
        SELECT *, CASE WHEN {KIND} = 'different' AND sent_row IS NOT NULL THEN {_differing(sync)}
            ELSE []::VARCHAR[] END AS fields
        FROM (SELECT * REPLACE ({sent} AS sent_row) FROM temp.drift d)
    """)


def _differing(sync: Sync) -> str:
    if sync.group is not None:
        return f"[{literal(sync.group.value)}]"
    cases = [
        f"CASE WHEN (sent_row -> {path}) IS DISTINCT FROM (found_row -> {path}) THEN {literal(field.name)} END"
        for field in sync.fields
        for path in [literal(f"$.{field.name}")]
    ]
    return f"list_filter([{', '.join(cases)}], lambda name: name IS NOT NULL)"


def _drop_accepted(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    theirs = sorted(sync.kept_fields())
    row = first_row(
        connection.execute(
            f"DELETE FROM temp.drift WHERE len(fields) > 0 AND list_has_all({theirs!r}::VARCHAR[], fields)"
        )
    )
    return int(row[0]) if row else 0

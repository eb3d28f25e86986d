"""The state of the tables that a check reads: the checked table as it is, and other marts as the checked one was made
from them.

The funnel is made every few seconds and the other marts once a minute. A check that compared the newest rows of both would
fail whenever a user books in between. So a rule names another mart as `{marts.fct_search_funnel}`, and this module
decides which state of it that means:

- as it is now, while it was not made again since the checked table was: then a row that is changed in either is found;
- else as it was in the lake's snapshot at which the checked table was made (`ops.made_until`), or in which it was last
  written by hand or by a run that was killed before it could say so;
- a view holds nothing of its own: it reads the other tables as they are, and so does its check.

Maintenance keeps these snapshots (`searchflow.maintenance.in_use`). An erasure keeps none: the oldest that is left takes the
place of an expired one, and the models are made again before the erasure ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import sqlglot
from sqlglot import exp

from searchflow import warehouse
from searchflow.fetching import first_row

METADATA = f"__ducklake_metadata_{warehouse.CATALOG}"
PLACE = re.compile(r"\{(?P<name>[a-z_]+(?:\.[a-z_0-9]+)?)\}")
WRITES = "inserted_into_table|deleted_from_table|inlined_insert|inlined_delete"
"""The names that DuckLake gives a change of rows; upkeep has other names."""

EVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The moment of a table that no transformation made: all that was received is expected in it."""

Fill = Callable[[str], str]
"""Function that puts moments and tables into the SQL of a rule."""


@dataclass(frozen=True)
class Made:
    """The moment when a model was made: events received up to `known_until` are in it, as of `snapshot` of the lake."""

    known_until: datetime | None = None
    snapshot: int | None = None
    touched: int | None = None
    """The snapshot after its last run, also after one whose audit failed."""


class Moments:
    """The moments of one validation. `connection` is pinned to the snapshot that is checked."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, snapshot: int, literals: Mapping[str, str]) -> None:
        self._connection, self._snapshot, self._literals = connection, snapshot, dict(literals)
        self._made = _made(connection)
        self._versions: dict[str, int | None] = {}

    def fill(self, table: str) -> Fill:
        """Return the function that fills the rules of this table."""
        made = self._made.get(table, Made())
        literals = self._literals | {"known_until": literal(made.known_until or EVER)}

        def filled(sql: str) -> str:
            return PLACE.sub(lambda found: self._place(table, found["name"], literals), sql)

        return filled

    def _place(self, table: str, name: str, literals: Mapping[str, str]) -> str:
        if "." in name:
            return self._source(table, name)
        return literals.get(name, f"{{{name}}}")  # {batch} is for Great Expectations

    def _source(self, table: str, other: str) -> str:
        made, touched = self._made.get(table, Made()).snapshot, self._made.get(other, Made()).touched
        if made is None or touched is None or touched <= made:
            return f"{warehouse.CATALOG}.{other}"
        version = self._version(table, made)
        if version is None or touched <= version:
            return f"{warehouse.CATALOG}.{other}"
        return f"(FROM {warehouse.CATALOG}.{other} AT (VERSION => {version}))"

    def _version(self, table: str, made: int) -> int | None:
        """Return the snapshot at which the table was made; None for a view."""
        if table not in self._versions:
            stored = _stored(self._connection, table, self._snapshot)
            if stored is None:
                self._versions[table] = None
            else:
                written = _last_write(self._connection, *stored, made, self._snapshot)
                self._versions[table] = _still_there(self._connection, max(made, written), self._snapshot)
        return self._versions[table]


def literal(moment: datetime) -> str:
    """Return a moment as SQL, in UTC."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"TIMESTAMP '{utc.isoformat(sep=' ').removesuffix('+00:00')}'"


def _made(connection: duckdb.DuckDBPyConnection) -> dict[str, Made]:
    found = connection.execute(
        "SELECT runs.model, any_value(made.known_until), any_value(made.lake_snapshot), max(runs.lake_snapshot) "
        "FROM ops.model_runs AS runs "
        "LEFT JOIN ops.made_until AS made ON made.model = runs.model AND made.environment = runs.environment "
        "WHERE runs.environment = 'prod' AND runs.status IN ('succeeded', 'failed') GROUP BY runs.model"
    ).fetchall()
    return {str(model): Made(*values) for model, *values in found}


def tables_read(statement: str) -> set[str]:
    """Name the tables, with their schemas, that a CREATE VIEW reads."""
    view = sqlglot.parse_one(statement, dialect="duckdb")
    return {f"{table.db}.{table.name}" for table in view.expression.find_all(exp.Table) if table.db}


def _stored(connection: duckdb.DuckDBPyConnection, table: str, snapshot: int) -> tuple[str, str, int] | None:
    """Return (schema, name, id) of the table that holds the rows of `table`, perhaps a view of all of it; else None."""
    found = first_row(
        connection.execute(
            "SELECT sql FROM duckdb_views() WHERE database_name = ? AND schema_name || '.' || view_name = ?",
            [warehouse.CATALOG, table],
        )
    )
    named = {table}
    if found is not None:
        named = tables_read(str(found[0]))
    if len(named) != 1:
        return None
    schema, name = named.pop().split(".", 1)
    row = first_row(
        connection.execute(
            f"SELECT tables.table_id FROM {METADATA}.ducklake_table AS tables "
            f"JOIN {METADATA}.ducklake_schema AS schemas ON schemas.schema_id = tables.schema_id "
            "WHERE schemas.schema_name = ? AND tables.table_name = ? "
            "AND tables.begin_snapshot <= ? AND coalesce(tables.end_snapshot > ?, TRUE)",
            [schema, name, snapshot, snapshot],
        )
    )
    return None if row is None else (schema, name, int(row[0]))


def _last_write(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str, table_id: int, after: int, until: int
) -> int:
    """Return the last snapshot that changed rows of the table; 0 for none."""
    created = re.escape(f'created_table:"{schema}"."{name}"')
    row = first_row(
        connection.execute(
            f"SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot_changes "
            "WHERE snapshot_id > ? AND snapshot_id <= ? AND regexp_matches(changes_made, ?)",
            [after, until, f"(^|,)(({WRITES}):{table_id}|{created})(,|$)"],
        )
    )
    return int(row[0]) if row and row[0] is not None else 0


def _still_there(connection: duckdb.DuckDBPyConnection, wanted: int, until: int) -> int:
    """Return the wanted snapshot, or the oldest after it when it has expired."""
    row = first_row(
        connection.execute(
            f"SELECT min(snapshot_id) FROM {METADATA}.ducklake_snapshot WHERE snapshot_id >= ? AND snapshot_id <= ?",
            [wanted, until],
        )
    )
    return int(row[0]) if row and row[0] is not None else until

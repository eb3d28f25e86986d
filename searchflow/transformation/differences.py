"""Differences in the marts between two snapshots of the lake: rows of each mart, and the days of the daily key figures.

A model that is made by days changes rows of its table, and DuckLake lists those (`ducklake_table_changes`): the cost
follows the changes. A model that is made as a whole replaces its table; then the table is compared with what it was at
the earlier snapshot. Either way a row that was deleted and written again as it was is no change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from searchflow import warehouse

DAILY = "marts.mart_kpi_daily"
KPIS = ("searches", "clicks", "conversions", "revenue")
"""Columns of the daily key figures that are shown by day."""
_TABLE = re.compile(r'FROM\s+(?:"?\w+"?\.)?"?(sqlmesh__marts)"?\."?(\w+)"?', re.IGNORECASE)


@dataclass(frozen=True)
class Marts:
    """The places of the marts' rows at a snapshot: mart -> its table in `sqlmesh__marts`."""

    snapshot: int
    tables: dict[str, str]


@dataclass(frozen=True)
class MartChange:
    """Rows of one mart that differ. A row with another value counts in both columns."""

    mart: str
    rows_gone: int
    rows_new: int


@dataclass(frozen=True)
class DayChange:
    """One day of the daily key figures, before and after. A side is empty when the day had no row."""

    day: date
    old: dict[str, Any]
    new: dict[str, Any]

    def shown(self, name: str) -> str:
        """Return one figure for people: `12 -> 13`, or `12` when it is the same."""
        old, new = self.old.get(name, "-"), self.new.get(name, "-")
        return f"{new}" if old == new else f"{old} -> {new}"


@dataclass
class Changes:
    """What changed in the marts between two snapshots."""

    marts: list[MartChange] = field(default_factory=list)
    days: list[DayChange] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    """Marts whose model was redefined in between: they have another table."""
    other_batches: int = 0
    """Commits besides the expected ones that transformations brought in since."""


def marts(connection: duckdb.DuckDBPyConnection) -> Marts:
    """Return the marts as they are now."""
    found = connection.execute(
        "SELECT view_name, sql FROM duckdb_views() WHERE database_name = ? AND schema_name = 'marts' ORDER BY 1",
        [warehouse.CATALOG],
    ).fetchall()
    tables = {f"marts.{name}": match[2] for name, sql in found if (match := _TABLE.search(sql))}
    return Marts(warehouse.snapshot_id(connection), tables)


def since(connection: duckdb.DuckDBPyConnection, before: Marts, expected: Sequence[str]) -> Changes:
    """Return what changed since `before`. `expected` are the commits of ingestion whose effect is asked for."""
    after, result = marts(connection), Changes()
    if after.snapshot == before.snapshot:
        return result
    for mart, table in after.tables.items():
        if before.tables.get(mart) != table:
            result.not_compared.append(mart)
            continue
        _compare(connection, table, before.snapshot, after.snapshot)
        gone, new = (_count(connection, name) for name in ("rows_gone", "rows_new"))
        if gone or new:
            result.marts.append(MartChange(mart, gone, new))
        if mart == DAILY:
            result.days = _days(connection)
    result.other_batches = _other_batches(connection, before, after, expected)
    return result


def _compare(connection: duckdb.DuckDBPyConnection, table: str, first: int, last: int) -> None:
    """Leave the rows that differ in the temporary tables `rows_gone` and `rows_new`."""
    name = f"sqlmesh__marts.{table}"
    if _replaced(connection, table, first):
        old, new = (f"SELECT * FROM {name} AT (VERSION => {version})" for version in (first, last))
    else:
        changes = f"ducklake_table_changes('{warehouse.CATALOG}', 'sqlmesh__marts', '{table}', {first + 1}, {last})"
        listed = f"SELECT * EXCLUDE (snapshot_id, rowid, change_type) FROM {changes} WHERE change_type IN"
        old, new = f"{listed} ('delete', 'update_preimage')", f"{listed} ('insert', 'update_postimage')"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_gone AS {old} EXCEPT ALL {new}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_new AS {new} EXCEPT ALL {old}")


def _replaced(connection: duckdb.DuckDBPyConnection, table: str, first: int) -> bool:
    """Return True when the table was rebuilt after the snapshot `first`: its changes are then not listed."""
    [(made,)] = connection.execute(
        f"SELECT count(*) FROM __ducklake_metadata_{warehouse.CATALOG}.ducklake_table "
        "WHERE table_name = ? AND begin_snapshot > ?",
        [table, first],
    ).fetchall()
    return bool(made)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    [(rows,)] = connection.execute(f"SELECT count(*) FROM temp.{table}").fetchall()
    return int(rows)


def _days(connection: duckdb.DuckDBPyConnection) -> list[DayChange]:
    """Return days whose own figures differ. Other days differ only in what they are compared with (the day before, the
    year).
    """
    figures = ", ".join(KPIS)
    sides: dict[str, dict[date, dict[str, Any]]] = {}
    for side in ("rows_gone", "rows_new"):
        rows = connection.execute(f"SELECT kpi_date, {figures} FROM temp.{side}").fetchall()
        sides[side] = {day: dict(zip(KPIS, values, strict=True)) for day, *values in rows}
    days = sorted(set(sides["rows_gone"]) | set(sides["rows_new"]))
    changed = [DayChange(day, sides["rows_gone"].get(day, {}), sides["rows_new"].get(day, {})) for day in days]
    return [change for change in changed if change.old != change.new]


def _other_batches(connection: duckdb.DuckDBPyConnection, before: Marts, after: Marts, expected: Sequence[str]) -> int:
    seen = "SELECT batch_id FROM ops.transformed_batches AT (VERSION => {}) WHERE environment = 'prod'"
    [(others,)] = connection.execute(
        f"SELECT count(*) FROM ({seen.format(after.snapshot)} EXCEPT {seen.format(before.snapshot)}) "
        "WHERE NOT list_contains(?::VARCHAR[], batch_id)",
        [list(expected)],
    ).fetchall()
    return int(others)

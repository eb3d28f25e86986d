"""The lake is only read, a page reads one snapshot, and a lost connection is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dashboards import source
from searchflow.settings import ROOT, Settings
from tests.dashboards.showroom import TABLES

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _configured(showroom: Settings) -> Iterator[None]:
    source.configure(showroom)
    yield
    source.configure(None)


def test_nothing_can_be_written() -> None:
    with source.reading() as reading, pytest.raises(duckdb.Error, match="read-only"):
        reading.cursor.execute("DELETE FROM marts.mart_kpi_daily")


def test_one_visit_reads_one_snapshot_while_others_write(lake: duckdb.DuckDBPyConnection) -> None:
    count = "SELECT count(*) AS n FROM ops.stage_runs WHERE run_id = $id"
    with source.reading() as reading:
        assert reading.row(count, {"id": "a"})["n"] == 0
        lake.execute("INSERT INTO ops.stage_runs (run_id) VALUES ('a')")
        assert reading.row(count + " OR false", {"id": "a"})["n"] == 0  # another text: not from the cache
    with source.reading() as reading:
        assert reading.row(count, {"id": "a"})["n"] == 1


def test_an_answer_is_kept_until_the_data_change(lake: duckdb.DuckDBPyConnection) -> None:
    with source.reading() as reading:
        first = reading.table("SELECT 1 AS one, $days AS days", {"days": ["x", "y"]})
        assert reading.table("SELECT 1 AS one, $days AS days", {"days": ["x", "y"]}) is first
        assert reading.table("SELECT 1 AS one, $days AS days", {"days": ["x"]}) is not first
    lake.execute("INSERT INTO ops.stage_runs (run_id) VALUES ('b')")
    with source.reading() as reading:
        assert reading.table("SELECT 1 AS one, $days AS days", {"days": ["x", "y"]}) is not first


def test_values_are_bound_and_cannot_become_sql() -> None:
    with source.reading() as reading:
        row = reading.row("SELECT $value AS value", {"value": "'; DROP TABLE marts.dim_users; --"})
        assert row["value"] == "'; DROP TABLE marts.dim_users; --"
        assert "marts.dim_users" in reading.tables()


def test_a_connection_that_was_lost_is_replaced() -> None:
    with source.reading() as reading:
        snapshot = reading.snapshot
    assert source._connection is not None
    source._connection.execute("USE memory; DETACH lake")  # as if its server had gone
    with source.reading() as reading:
        assert reading.snapshot == snapshot


def test_missing_tables_are_named() -> None:
    with source.reading() as reading, pytest.raises(source.NotBuiltError) as error:
        reading.require("marts.dim_users", "marts.not_there")
    assert error.value.missing == ["marts.not_there"]


@pytest.mark.parametrize("table", [name for name in TABLES if name.startswith("marts.")])
def test_the_showroom_has_no_column_that_the_models_lack(table: str, lake: duckdb.DuckDBPyConnection) -> None:
    model = (ROOT / "models" / Path(*table.split(".")).with_suffix(".sql")).read_text()
    columns = [row[0] for row in lake.execute(f"DESCRIBE {table}").fetchall()]
    assert [name for name in columns if f" AS {name}" not in model] == []


def test_sql_stands_only_in_queries_and_in_the_snapshot_reader() -> None:
    keyword = "SELECT "
    holders = {
        path.relative_to(ROOT / "dashboards").parts[0]
        for path in (ROOT / "dashboards").rglob("*.py")
        if keyword in path.read_text()
    }
    assert holders == {"queries", "source.py"}


def test_queries_read_marts_and_ops_only() -> None:
    for path in (ROOT / "dashboards" / "queries").glob("*.py"):
        text = path.read_text()
        for schema in ("staging.", "intermediate.", "activation.", "raw.search", "raw.click", "raw.conversion"):
            assert f"FROM {schema}" not in text, f"{path.name} reads {schema}"

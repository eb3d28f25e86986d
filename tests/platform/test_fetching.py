"""Reads of one row of the lake end: a connection that then waits holds no lock in the catalog."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import psycopg
import pytest

from searchflow import warehouse
from searchflow.fetching import first_row
from searchflow.services import postgres_dsn
from searchflow.settings import ROOT, Settings

ROOMS = ("searchflow", "activations", "dashboards", "expectations", "flows")
LAKE = "DuckDBPyConnection"


def left_open(code: ast.AST) -> Iterator[int]:
    """Yield the lines on which `fetchone` is asked of a connection of DuckDB, by its annotation or by `warehouse.connect`."""
    for function in ast.walk(code):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = {each.arg for each in function.args.args if each.annotation and LAKE in ast.unparse(each.annotation)}
        for node in ast.walk(function):
            if isinstance(node, ast.withitem) and ast.unparse(node.context_expr).startswith("warehouse.connect("):
                names.add(ast.unparse(node.optional_vars) if node.optional_vars else "")
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fetchone":
                asked = ast.unparse(node.func.value).partition(".execute(")[0]
                if asked in names:
                    yield node.lineno


def test_the_search_finds_both_ways_to_have_a_connection() -> None:
    code = """
def given(lake: duckdb.DuckDBPyConnection, ledger: psycopg.Connection):
    ledger.execute("SELECT 1").fetchone()
    lake.execute("SELECT 1").fetchone()

def opened(settings):
    with warehouse.connect(settings) as connection, warehouse.transaction(connection):
        return connection.execute("SELECT 1").fetchone()
"""
    assert sorted(left_open(ast.parse(code))) == [4, 8]


def test_no_code_asks_the_lake_for_one_row_and_leaves_the_read_open() -> None:
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in paths for line in left_open(ast.parse(path.read_text()))]
    assert len(paths) > 200
    assert found == []


@pytest.mark.integration
def test_a_read_of_one_row_leaves_no_transaction_in_the_catalog(fresh_platform: Settings) -> None:
    def open_transactions() -> int:
        with psycopg.connect(postgres_dsn(fresh_platform, "catalog")) as catalog:
            [(count,)] = catalog.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
            ).fetchall()
        return int(count)

    with warehouse.connect(fresh_platform) as lake:
        assert lake.execute("SELECT count(*) FROM ops.ingestion_batches").fetchone() == (0,)
        assert open_transactions() == 1, "this engine no longer streams: first_row may go"
        assert first_row(lake.execute("SELECT count(*) FROM ops.ingestion_batches")) == (0,)
        assert open_transactions() == 0
        assert first_row(lake.execute("SELECT 1 FROM ops.ingestion_batches")) is None

"""Upkeep that loses races against other commits harms nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest

from searchflow import lake_calls, warehouse
from searchflow.settings import ROOT, Settings

pytestmark = pytest.mark.integration

ROUNDS = 4


def keep_committing(settings: Settings, stop: threading.Event, gate: threading.Lock) -> int:
    """Small commits to another table, as a busy worker makes them: one at a time through a gate, where it can be held up."""
    commits = 0
    with warehouse.connect(settings, threads=1) as connection:
        while not stop.wait(0.03):
            with gate:
                connection.execute("INSERT INTO ops.busy VALUES (1)")
            commits += 1
    return commits


def numbers(connection: duckdb.DuckDBPyConnection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT number FROM ops.kept ORDER BY number").fetchall()]


def tidied(connection: duckdb.DuckDBPyConnection, gate: threading.Lock) -> list[list[int]]:
    """What is in the table after each step of upkeep."""
    found = []
    for function, places, options in (
        (lake_calls.FLUSH, (), {"schema_name": "ops", "table_name": "kept"}),
        ("ducklake_rewrite_data_files", ("kept",), {"schema": "ops", "delete_threshold": 0.1}),
        ("ducklake_merge_adjacent_files", ("kept",), {"schema": "ops"}),
    ):
        lake_calls.call(connection, function, *places, alone=lambda: gate, **options)
        found.append(numbers(connection))
    return found


def test_rows_that_were_deleted_stay_deleted(fresh_platform: Settings) -> None:
    stop, gate = threading.Event(), threading.Lock()
    with ThreadPoolExecutor(1) as threads, warehouse.connect(fresh_platform) as connection:
        connection.execute("CREATE TABLE ops.busy (number BIGINT); CREATE TABLE ops.kept (number BIGINT)")
        busy = threads.submit(keep_committing, fresh_platform, stop, gate)
        try:
            for _ in range(ROUNDS):
                connection.execute("INSERT INTO ops.kept SELECT range FROM range(400)")  # a file
                connection.execute("DELETE FROM ops.kept WHERE number < 120")  # rows in the catalog
                assert tidied(connection, gate) == [list(range(120, 400))] * 3
                with warehouse.transaction(connection):  # as a model replaces its days
                    connection.execute("DELETE FROM ops.kept WHERE number % 2 = 0")
                    connection.execute("INSERT INTO ops.kept SELECT range FROM range(400, 420)")
                left = [*range(121, 400, 2), *range(400, 420)]
                assert numbers(connection) == left
                assert tidied(connection, gate) == [left] * 3
                connection.execute("DELETE FROM ops.kept")
        finally:
            stop.set()
        assert busy.result() > ROUNDS
        [done] = connection.execute("SELECT count(*) FROM ops.busy").fetchall()
        assert done == (busy.result(),)


def test_models_wait_for_their_commit_as_we_do() -> None:
    text = (ROOT / "config.yaml").read_text()
    assert [name for name, value in warehouse.COMMIT_SETTINGS.items() if f"{name}: {value}\n" not in text] == []

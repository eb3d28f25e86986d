"""Every run of a stage leaves a row, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import duckdb
import pytest

from searchflow import warehouse
from searchflow.errors import ServiceError
from searchflow.ops import stages
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
VICTIM = """
import time
from datetime import datetime, UTC
from searchflow.ops import stages
from searchflow.settings import load_settings
with stages.noted(load_settings(), "ingestion", "victim", clock=lambda: datetime.now(UTC)):
    print("begun", flush=True)
    time.sleep(120)
"""


def runs(settings: Settings) -> list[tuple[object, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(
            "SELECT run_id, stage, status, rows_in, rows_out, error FROM ops.stage_runs ORDER BY run_id"
        ).fetchall()


def test_a_run_that_ends_fails_or_is_stopped(watched: Settings) -> None:
    def clock() -> datetime:
        return NOW

    with stages.noted(watched, "replay", "1", clock=clock) as noted:
        noted.rows_in, noted.rows_out = 3, 2
    for run, error in (
        ("2", ServiceError("It is away. Wait.")),
        ("3", ValueError("a@b.example")),
        ("4", SystemExit(3)),
    ):
        with pytest.raises(type(error)), stages.noted(watched, "replay", run, clock=clock):
            raise error
    assert runs(watched) == [
        ("1", "replay", "completed", 3, 2, None),
        ("2", "replay", "failed", 0, 0, "ServiceError: It is away. Wait."),
        ("3", "replay", "failed", 0, 0, "ValueError"),  # its text may quote data
        ("4", "replay", "stopped", 0, 0, "SystemExit"),
    ]


def test_a_run_that_is_told_to_end_in_the_middle_of_a_query_was_stopped_and_did_not_fail(watched: Settings) -> None:
    def told(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, told)
    try:
        with (
            pytest.raises(RuntimeError, match="Query interrupted"),
            stages.noted(watched, "monitoring", "1", clock=lambda: NOW),
        ):
            endless_query_with_a_signal()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert runs(watched) == [("1", "monitoring", "stopped", 0, 0, "RuntimeError")]


def endless_query_with_a_signal() -> None:
    """Run short tasks, all of them in this thread. DuckDB looks for signals between two tasks of the thread that asked: a
    cross join may be one task of minutes, and a thread beside it may take a query's only task for good."""
    with duckdb.connect(config={"threads": 1}) as connection:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        connection.execute("SELECT sum(i % 7) FROM range(1000000000000) AS t(i)").fetchall()


def test_a_run_that_was_killed_is_written_by_the_next_one_and_only_once(watched: Settings) -> None:
    assert watched.redis_url is not None
    assert watched.postgres_url is not None
    environment = os.environ | {
        "SEARCHFLOW_HOME": str(watched.home),
        "SEARCHFLOW_REDIS_URL": watched.redis_url.get_secret_value(),
        "SEARCHFLOW_POSTGRES_URL": watched.postgres_url.get_secret_value(),
        "SEARCHFLOW_POSTGRES_PREFIX": watched.postgres_prefix,
    }
    with subprocess.Popen([sys.executable, "-c", VICTIM], env=environment, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"begun\n"
        assert stages.bury(watched) == 0  # it lives
        victim.send_signal(signal.SIGKILL)
    with stages.noted(watched, "ingestion", "w-next", clock=lambda: NOW):
        pass
    assert stages.bury(watched) == 0
    assert runs(watched) == [
        ("victim", "ingestion", "killed", None, None, stages.KILLED),
        ("w-next", "ingestion", "completed", 0, 0, None),
    ]

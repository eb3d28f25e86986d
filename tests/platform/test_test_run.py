"""The run of the tests itself: failures are told as they happen, the order names files that are there, copies are true."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from searchflow import lifecycle
from searchflow.services import postgres
from searchflow.settings import ROOT, Settings
from tests import clusters, order
from tests.conftest import temporary_home

TESTS = """
import time
from pathlib import Path

def test_that_fails():
    assert "what was expected" == "what was found"

def test_that_waits():
    while not Path("seen").exists():
        time.sleep(0.05)
"""
CONFTEST = """
from tests.failures import AtOnce

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config))
"""


def test_a_failure_is_told_while_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    printed = tmp_path / "printed"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_two.py",
    ]
    with printed.open("wb") as output:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
        run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)
    ends = time.monotonic() + 120
    while "what was found" not in printed.read_text():
        assert run.poll() is None, printed.read_text()
        assert time.monotonic() < ends, printed.read_text()
        time.sleep(0.05)
    assert "FAILED test_two.py::test_that_fails (call, after " in printed.read_text()
    (tmp_path / "seen").touch()
    assert run.wait(120) == 1


def test_each_file_of_the_order_is_there_and_shares_a_home_with_one_that_is() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/test_*.py")]
    assert order.missing(files) == []
    assert not set(order.ONE_HOME) & set(order.ONE_HOME.values()), "a chain of files"
    assert order.scope_of("tests/verification/test_causes.py::test_x") == "tests/verification/test_verify.py"
    assert order.scope_of("tests/verification/test_verify.py::test_x") == "tests/verification/test_verify.py"


def rows(settings: Settings) -> dict[tuple[str, str], int]:
    """How many rows each table of each database has."""
    found = {}
    for database in postgres.DATABASES:
        with psycopg.connect(postgres.conninfo(settings, database)) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for (table,) in tables:
                [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # type: ignore[call-overload]
                found[database, table] = count
    return found


@pytest.mark.integration
def test_a_copied_home_holds_what_a_first_start_makes(own_servers: Settings) -> None:
    with temporary_home() as first, temporary_home() as second:
        made, copied = (
            clusters.beside(own_servers, home, prefix) for home, prefix in ((first, "made_"), (second, "copied_"))
        )
        lifecycle.start(made)
        clusters.start_beside(own_servers, copied)
        assert rows(made) == rows(copied) == rows(own_servers)
        assert len(rows(made)) > 50
        lifecycle.stop_all(made)
        lifecycle.stop_all(copied)

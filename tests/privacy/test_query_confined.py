"""A person's query cannot write, read files or reach the network, whatever it is dressed as."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from searchflow import confined, warehouse
from searchflow.cli.explore import _only_select
from searchflow.cli.output import safe
from searchflow.errors import UsageError
from searchflow.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def connection(platform: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connect(platform, read_only=True) as opened:
        confined.confine(opened, platform)
        yield opened


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM raw.search_events",
        "WITH gone AS (SELECT 1) DELETE FROM raw.search_events",
        "SELECT 1; DROP TABLE raw.search_events",
        "COPY raw.search_events TO '/tmp/out.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM (SELECT * FROM read_blob('/etc/passwd'))",
        "SELECT * FROM raw.search_events WHERE event_id IN (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM postgres_query('lake', 'SELECT 1')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_settings()",
    ],
)
def test_it_is_refused_before_it_runs(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(UsageError):
        _only_select(connection, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'https://example.org/x.parquet'",
        "SELECT * FROM '/tmp/anything.csv'",
        "SET enable_external_access = true",
        "LOAD httpfs",
        "INSERT INTO ops.stage_runs (run_id) VALUES ('x')",
    ],
)
def test_the_engine_itself_refuses_too(connection: duckdb.DuckDBPyConnection, sql: str, tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error):
        connection.execute(sql).fetchall()


def test_a_value_cannot_change_the_terminal() -> None:
    assert safe("\x1b[2J\x1b]0;gotcha\x07\r\n[red]x[/red]").plain == "\\x1b[2J\\x1b]0;gotcha\\x07\\x0d\\x0a[red]x[/red]"

"""`searchflow query` and the dashboards read the tables of the lake and nothing else, and the audit log says which."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from dashboards import source
from searchflow import confined, read_only, spill, warehouse
from searchflow.cli.app import run
from searchflow.errors import UsageError
from searchflow.ops import audit_log
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
METADATA = "__ducklake_metadata_lake"
REFUSED = {
    "a file of the lake": "FROM '{parquet}'",
    "the same by a function": "SELECT * FROM parquet_scan('{parquet}')",
    "the same in a subquery": "SELECT (SELECT count(*) FROM '{parquet}') AS n",
    "the same behind a condition": "SELECT 1 AS n WHERE EXISTS (FROM '{parquet}') AND false",
    "the same in a common table expression": "WITH f AS (FROM '{parquet}') SELECT * FROM f",
    "the same beside a table": "FROM marts.people UNION ALL FROM '{parquet}'",
    "a folder of the lake": "FROM '{folder}/**/*.parquet'",
    "the catalog": f"FROM {METADATA}.ducklake_snapshot",
    "the catalog with its schema": f"FROM {METADATA}.public.ducklake_table",
    "the catalog in quotes": f'FROM "{METADATA}"."public"."ducklake_table"',
    "the audit log": f"FROM {METADATA}.audit.log",
    "the server's accounts": f"FROM {METADATA}.pg_catalog.pg_authid",
    "the server's sessions": f"SELECT 1 AS n FROM marts.people WHERE EXISTS (FROM {METADATA}.pg_catalog.pg_stat_activity)",
    "another table of the ledger": "FROM ledger.activation.row_log, ledger.activation.sync_rows",
    "another schema of the ledger": "SELECT 1 AS n FROM ledger.monitoring.notices, ledger.activation.sync_rows",
    "attached databases": "FROM duckdb_databases",
    "a variable of the program": "FROM rows",
}
READ = {
    "FROM marts.people": {"marts.people"},
    "FROM lake.marts.people": {"marts.people"},
    'FROM "LAKE"."Marts"."People"': {"marts.people"},
    "FROM staging.named": {"marts.people", "staging.named"},
    "WITH p AS (FROM marts.people) SELECT count(*) AS n FROM p, p AS q": {"marts.people"},
    "SELECT (SELECT max(name) FROM marts.people) AS n": {"marts.people"},
    "SELECT name FROM marts.people WHERE false": {"marts.people"},
    "DESCRIBE marts.people": {"marts.people"},
    "SUMMARIZE marts.people": {"marts.people"},
    "SELECT * FROM range(3)": set(),
    "SELECT unnest([1, 2]) AS n": set(),
    "SELECT j.value FROM marts.people, json_each('[1]') AS j": {"marts.people"},
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r": set(),
    "SELECT table_name FROM information_schema.tables": {"information_schema.tables"},
    "FROM marts.people AS a POSITIONAL JOIN marts.people AS b": {"marts.people"},
    "SELECT count(*) AS n FROM marts.people JOIN staging.named USING (name)": {"marts.people", "staging.named"},
    "FROM marts.people NATURAL JOIN marts.people AS other": {"marts.people"},
    "FROM ledger.activation.sync_rows": {"activation.sync_rows"},
    "SELECT sum(n) OVER () AS n FROM (SELECT 1 AS n FROM marts.people GROUP BY ALL)": {"marts.people"},
}


@pytest.fixture(scope="module")
def lake(platform: Settings) -> dict[str, str]:
    """A table, a view of it, and where their files are."""
    with warehouse.connect(platform) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS marts; CREATE SCHEMA IF NOT EXISTS staging")
        connection.execute("CREATE OR REPLACE TABLE marts.people AS SELECT 'Ana' || range AS name FROM range(1000)")
        connection.execute("CREATE OR REPLACE VIEW staging.named AS SELECT name FROM marts.people")
    [parquet] = (platform.home / "lake" / "marts" / "people").rglob("*.parquet")
    return {"parquet": str(parquet), "folder": str(parquet.parent)}


@pytest.fixture
def cli(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCHFLOW_HOME", str(platform.home))


@pytest.mark.usefixtures("cli")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_table_is_refused_in_one_line_and_noted(
    platform: Settings, lake: dict[str, str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", REFUSED[what].format(**lake), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert "Ana" not in said.err


@pytest.mark.usefixtures("cli", "lake")
@pytest.mark.parametrize("sql", READ)
def test_tables_are_read_and_named_in_the_audit_log(
    platform: Settings, sql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", sql, "--json"]) == 0, capsys.readouterr().err
    assert isinstance(json.loads(capsys.readouterr().out), list)
    [entry] = audit_log.show(platform, action="read", limit=1)
    assert set(entry["object"].split(", ")) == (READ[sql] or {"no table"})


@pytest.mark.usefixtures("cli")
def test_a_refused_query_is_noted(platform: Settings, lake: dict[str, str]) -> None:
    assert run(["query", f"FROM '{lake['parquet']}'"]) == 2
    [entry] = audit_log.show(platform, action="read", limit=1)
    assert entry["detail"].startswith("refused: ")


def test_a_page_is_held_to_the_same(platform: Settings, lake: dict[str, str]) -> None:
    source.configure(platform)
    try:
        with source.reading() as reading:
            counted = "SELECT count(*) AS n FROM staging.named WHERE name <> $none"
            assert reading.row(counted, {"none": "x"}) == {"n": 1000}
            assert reading.row(counted, {"none": "Ana1"}) == {"n": 999}
            [entry] = audit_log.show(platform, action="read", limit=1)
            assert entry["object"] == "marts.people, staging.named"
            for sql in (f"FROM '{lake['parquet']}'", f"FROM {METADATA}.audit.log", "FROM duckdb_secrets()"):
                with pytest.raises((UsageError, duckdb.Error)):
                    reading.rows(sql)
    finally:
        source.configure(None)


def test_what_does_not_fit_into_memory_is_spilled_into_the_home_and_erased(
    platform: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with spill.folder(platform) as place:
        assert place.is_relative_to(platform.home)
        assert place.stat().st_mode & 0o077 == 0
        with warehouse.connect(platform, read_only=True, memory_limit="80MB", threads=1, spill=place) as connection:
            confined.confine(connection, platform)
            big = "SELECT range AS n, md5(range::VARCHAR) AS t FROM range(2_000_000) ORDER BY t"
            assert read_only.tables_read(connection, big) == set()
            cursor = connection.execute(big)
            assert cursor.fetchone() is not None
            assert list(place.rglob("duckdb_temp*"))
    assert not place.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [spill.QUERY, spill.WORK])
def test_what_a_killed_process_has_left_is_erased_by_the_next_query(platform: Settings, kind: str) -> None:
    left = platform.home / "spill" / f"{kind}-999999999-1"
    left.mkdir(parents=True)
    (left / "duckdb_temp_storage-0.tmp").write_text("rows of people")
    with spill.folder(platform):
        assert not left.exists()

"""What tables there are, and what was meant by a wrong name: in `searchflow tables`, and in a query's error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchflow import lifecycle, tables, warehouse
from searchflow.cli import listing
from searchflow.ops import record, views
from searchflow.ops.descriptions import DESCRIPTIONS
from searchflow.settings import load_settings
from tests import clusters
from tests.commands import CommandLine
from tests.conftest import temporary_home
from tests.platform.test_misuse import refused

pytestmark = pytest.mark.integration
MODELS = """
CREATE SCHEMA marts; CREATE SCHEMA staging;
CREATE TABLE marts.mart_kpi_daily (kpi_date DATE, revenue DECIMAL(18, 2), conversion_rate DOUBLE);
INSERT INTO marts.mart_kpi_daily VALUES (DATE '2026-03-10', 250.00, 0.1);
CREATE TABLE marts.dim_users (user_id VARCHAR, lifetime_revenue DECIMAL(18, 2));
CREATE VIEW staging.stg_click_events AS SELECT event_id FROM raw.click_events;
CREATE VIEW ops.freshness AS SELECT 'marts.mart_kpi_daily' AS table_name,
    TIMESTAMP '2026-03-11 00:00:00' AS last_event_ts, TIMESTAMP '2026-03-11 00:05:00' AS last_loaded_at;
"""


@pytest.fixture(scope="module")
def cli() -> Iterator[CommandLine]:
    """A home with servers and a few tables that stand for models."""
    with temporary_home() as home:
        settings = load_settings(home=home)
        try:
            clusters.start(settings)
            with warehouse.connect(settings) as connection:
                for statement in filter(str.strip, MODELS.split(";")):
                    connection.execute(statement)
            line = CommandLine(home)
            with line.warm():
                yield line
        finally:
            lifecycle.stop_all(settings)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("SELECT revenue FROM mart_kpi_daily", ["no table mart_kpi_daily", "Did you mean marts.mart_kpi_daily?"]),
        ("SELECT revenue FROM MART_KPI_DAILY", ["Did you mean marts.mart_kpi_daily?"]),
        ("SELECT revenue FROM mart.mart_kpi_daily", ["no table mart.mart_kpi_daily", "mean marts.mart_kpi_daily?"]),
        ("SELECT revenue FROM raw.mart_kpi_daily", ["no table raw.mart_kpi_daily", "mean marts.mart_kpi_daily?"]),
        ("SELECT 1 FROM marts.mart_kpi_dayly AS k", ["Did you mean marts.mart_kpi_daily?"]),
        ("WITH a AS (SELECT * FROM raw.search_event) SELECT * FROM a", ["Did you mean raw.search_events"]),
        ("SELECT * FROM marts.mart_user_segments", ["no table marts.mart_user_segments yet", "searchflow transform"]),
        ("SELECT * FROM marts.qqqqqq", ["no table marts.qqqqqq. `searchflow tables` lists"]),
        (
            "SELECT revenu FROM marts.mart_kpi_daily",
            ["no column revenu", "mean revenue?", "tables marts.mart_kpi_daily"],
        ),
        ("SELECT k.revenu FROM marts.mart_kpi_daily AS k", ["no column revenu", "Did you mean revenue?"]),
        ("SELECT * FROM marts.mart_kpi_daily WHERE date > '2026'", ["no column date", "Did you mean kpi_date?"]),
        ("SELECT z.revenue FROM marts.mart_kpi_daily AS k", ["reads no table z", "Did you mean k?"]),
        ("SELECT dat_trunc('day', kpi_date) FROM marts.mart_kpi_daily", ["Did you mean date_trunc?"]),
        ("SHOW TABLES FROM mart", ["no schema mart", "marts"]),
        ("DESCRIBE mart_kpi_daily", ["Did you mean marts.mart_kpi_daily?"]),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest_one(cli: CommandLine, wrong: str, said: list[str]) -> None:
    refused(cli.run("query", wrong), *said)


def test_tables_are_listed_with_what_they_hold_and_how_fresh_they_are(cli: CommandLine) -> None:
    listed = {row["table"]: row for row in cli.json("tables")}
    assert listed["marts.mart_kpi_daily"]["last_event_at"] == "2026-03-11T00:00:00"
    assert listed["marts.mart_kpi_daily"]["last_loaded_at"] == "2026-03-11T00:05:00"
    assert listed["marts.dim_users"]["last_loaded_at"] is None
    assert {"raw.search_events", "raw.dead_letters", "ops.sync_runs", "staging.stg_click_events"} <= set(listed)
    assert [name for name, row in listed.items() if not row["description"]] == []
    assert next(iter(listed)).startswith("marts.")  # the most useful first
    shown = cli.run("tables")
    assert shown.returncode == 0
    assert "marts.mart_kpi_daily" in shown.stdout


def test_columns_of_one_table_are_listed_with_what_they_mean(cli: CommandLine) -> None:
    whole, short = cli.json("tables", "marts.mart_kpi_daily"), cli.json("tables", "mart_kpi_daily")
    assert whole == short
    assert [row["column"] for row in whole] == ["kpi_date", "revenue", "conversion_rate"]
    assert all(row["description"] for row in whole)
    assert whole[1]["type"] == "decimal(18,2)"
    refused(cli.run("tables", "mart_kpi_dayly"), "Did you mean marts.mart_kpi_daily?")


def test_show_tables_and_describe_answer(cli: CommandLine) -> None:
    everything = [row["name"] for row in cli.json("query", "SHOW TABLES")]
    assert "marts.mart_kpi_daily" in everything
    assert cli.json("query", "show all tables;") == cli.json("query", "SHOW TABLES")
    assert [row["name"] for row in cli.json("query", "SHOW TABLES FROM marts")] == [
        "marts.dim_users",
        "marts.mart_kpi_daily",
    ]
    described = cli.json("query", "DESCRIBE marts.mart_kpi_daily")
    assert [(row["column_name"], row["column_type"]) for row in described][:2] == [
        ("kpi_date", "DATE"),
        ("revenue", "DECIMAL(18,2)"),
    ]
    assert [row["column_name"] for row in cli.json("query", "DESCRIBE SELECT revenue FROM marts.mart_kpi_daily")] == [
        "revenue"
    ]
    assert len(cli.json("query", "SUMMARIZE marts.mart_kpi_daily")) == 3
    refused(cli.run("query", "SHOW TABLES; DROP TABLE marts.dim_users"), "Only one SELECT")
    refused(cli.run("query", "DESCRIBE SELECT * FROM read_csv('/etc/passwd')"), "read_csv")


def test_a_summary_of_personal_data_is_in_the_audit_log_under_its_table(cli: CommandLine) -> None:
    cli.json("query", "SUMMARIZE raw.user_profiles")
    newest = cli.json("audit", "show", "--object", "raw.user_profiles", "--limit", "1")[0]
    assert "raw.user_profiles" in newest["object"]


def test_every_table_of_the_platform_is_described_once() -> None:
    from dashboards import definitions

    models = definitions.models()
    made = [*record.TABLES, *views.VIEWS, *(f"raw.{table}" for table in tables.RAW_TABLES)]
    elsewhere = {table for table in made if table in models and models[table].sentence}
    assert set(made) - elsewhere == set(DESCRIPTIONS)


def test_a_short_name_that_two_schemas_have_is_not_guessed() -> None:
    from searchflow.errors import UsageError

    known = ["marts.lateness", "ops.lateness", "ops.freshness"]
    assert listing.resolved("Freshness", known) == "ops.freshness"
    with pytest.raises(UsageError, match=r"marts\.lateness or ops\.lateness"):
        listing.resolved("lateness", known)


def test_the_version_is_told(cli: CommandLine) -> None:
    from searchflow import __version__

    done = cli.run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"searchflow {__version__}")


@pytest.mark.parametrize(
    ("shell", "typed", "offered"),
    [
        ("bash", {"COMP_WORDS": "searchflow gen", "COMP_CWORD": "1"}, "generate"),
        ("bash", {"COMP_WORDS": "searchflow generate --un", "COMP_CWORD": "2"}, "--until"),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "searchflow dlq re"}, "replay"),
        ("fish", {"_TYPER_COMPLETE_ARGS": "searchflow tab", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "tables"),
    ],
)
def test_shells_complete_commands_and_options(shell: str, typed: dict[str, str], offered: str, tmp_path: Path) -> None:
    def searchflow(**changes: str) -> str:
        environment = {**os.environ, "HOME": str(tmp_path), **changes}
        command = [str(Path(sys.executable).with_name("searchflow"))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout

    assert offered in searchflow(_SEARCHFLOW_COMPLETE=f"complete_{shell}", **typed)
    script = searchflow(_SEARCHFLOW_COMPLETE=f"source_{shell}")
    assert f"complete_{shell}" in script
    assert "searchflow" in script
    assert list(tmp_path.iterdir()) == []  # completing writes nothing

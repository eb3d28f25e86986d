"""The demo, twice: the second run adds only what is new. And two at once: the second changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from searchflow import services, warehouse
from searchflow.services import postgres, prefect
from searchflow.settings import ROOT
from tests.commands import CommandLine

pytestmark = pytest.mark.integration
OPS_TABLES = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'ops'"
KEYS = {"events", "rows", "syncs", "gates", "seconds"}


@pytest.fixture(scope="module")
def cli() -> Iterator[CommandLine]:
    from tests.conftest import temporary_home

    with temporary_home() as home:
        line = CommandLine(home)
        yield line


def test_the_demo_runs_twice_and_a_second_one_beside_it_changes_nothing(cli: CommandLine) -> None:
    running = cli.start("demo", "--days", "45", "--events", "6000", "--json")
    lock = cli.home / "run" / "demo.lock"
    while not (lock.exists() and lock.read_text().startswith(f"{running.pid}\n")):  # written once the lock is held
        assert running.poll() is None
        time.sleep(0.05)
    beside = cli.run("demo", "--json")
    assert beside.returncode == 2
    assert beside.stderr.count("\n") == 1
    assert f"process {running.pid}" in beside.stderr
    out, err = running.communicate(timeout=540)
    assert running.returncode == 0, err[-3000:]
    (cli.home / "said").write_text(out + err)
    first = json.loads(out)
    assert set(first) >= KEYS
    assert first["events"]["generated"] == pytest.approx(6000, rel=0.1)
    assert first["events"]["received"] >= first["events"]["published"]  # and the feeds
    assert first["accounting"]["holds"]
    assert all(gate["failed"] == 0 for gate in first["gates"].values())
    assert first["syncs"]["crm_user_segments"]["added"] == first["rows"]["activation.act_crm_user_segments"] > 0

    second = cli.json("demo")
    assert second["events"]["generated"] < 100
    assert second["accounting"]["holds"]
    grown = second["rows"]["raw.search_events"] - first["rows"]["raw.search_events"]
    assert grown <= second["events"]["stored"]
    for name, sync in second["syncs"].items():
        assert sync["added"] + sync["changed"] + sync["removed"] <= max(20, sync["unchanged"] // 4), name
    with warehouse.connect(cli.settings, read_only=True) as connection:
        for event_type in ("search", "click", "conversion"):
            row = connection.execute(
                f"SELECT count(*) - count(DISTINCT event_id) FROM raw.{event_type}_events"
            ).fetchone()
            assert row == (0,)


def test_status_tells_health_lag_freshness_and_runs(cli: CommandLine) -> None:
    state = cli.json("status")
    assert state["healthy"]
    assert set(state["lag"]) == {"search", "click", "conversion"}
    assert {"marts.fct_search_funnel", "marts.mart_kpi_daily"} <= {row["table_name"] for row in state["freshness"]}
    assert {run["stage"]: run["status"] for run in state["last_runs"]}["transformation"] == "completed"
    assert len(state["last_syncs"]) == 3


def test_the_publication_flow_writes_every_mart_and_its_run_is_noted(cli: CommandLine) -> None:
    settings = cli.settings
    url = f"postgresql:///{settings.postgres_prefix}bi?user=postgres&host={postgres.socket_folder(settings)}"
    said = [publication(cli, **changes) for changes in ({}, {"SEARCHFLOW_PUBLISH_URL": url})]
    assert said[0] == {"status": "not configured"}
    assert said[1]["status"] == "done", said[1]
    assert set(said[1]["tables"].values()) == {"published"}
    with warehouse.connect(settings, read_only=True) as lake, psycopg.connect(postgres.conninfo(settings, "bi")) as bi:
        [users] = lake.execute("SELECT count(*) FROM marts.dim_users").fetchall()
        assert bi.execute("SELECT count(*) FROM marts.dim_users").fetchall() == [users]
        [run] = lake.execute("SELECT status, rejected FROM ops.stage_runs WHERE stage = 'publication'").fetchall()
    assert run == ("completed", 0)


def publication(cli: CommandLine, **changes: str) -> dict[str, Any]:
    """One run of the flow, in a process with the environment that `searchflow up` gives its runs."""
    code = "import json; from flows.publication import publish; print(json.dumps(publish()))"
    given = cli.environment | prefect.client_environment(cli.settings) | changes
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, cwd=ROOT, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_sqlmesh_works_by_itself_while_the_services_run(cli: CommandLine) -> None:
    from searchflow.services import sqlmesh_environment

    # SQLMesh lets a .env in the root override the environment: a clone that ran `make demo` has one of its own servers.
    dotenv = cli.home / "sqlmesh.env"
    dotenv.write_text("".join(f"{name}='{value}'\n" for name, value in sqlmesh_environment(cli.settings).items()))
    done = subprocess.run(  # the unit tests are run beside these tests, and need no home
        [
            "sqlmesh",
            "--dotenv",
            str(dotenv),
            "--ignore-warnings",
            "plan",
            "dev",
            "--skip-tests",
            "--auto-apply",
            "--no-prompts",
        ],
        executable=str(ROOT / ".venv" / "bin" / "sqlmesh"),
        cwd=ROOT,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    with warehouse.connect(cli.settings, read_only=True) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM marts__dev.fct_search_funnel").fetchall() == [(True,)]


def test_no_log_report_or_artifact_of_the_demo_names_a_person(cli: CommandLine, tmp_path: Path) -> None:
    """Every generated address and name is looked for in what people and operators read, not in the data itself."""
    with warehouse.connect(cli.settings, read_only=True) as connection:
        people = connection.execute("SELECT DISTINCT email, name FROM raw.user_profiles").fetchall()
    words = sorted({word for person in people for word in person if word})
    assert len(words) > 100
    (tmp_path / "words").write_text("\n".join(words))
    read_by_people = tmp_path / "read"
    read_by_people.mkdir()
    for database in ("prefect", "sqlmesh"):
        (read_by_people / database).write_bytes(dump(services.postgres_dsn(cli.settings, database)))
    with warehouse.connect(cli.settings, read_only=True) as connection:
        tables = [row[0] for row in connection.execute(OPS_TABLES).fetchall()]
        assert len(tables) > 15
        for table in tables:
            (read_by_people / table).write_text(str(connection.execute(f"FROM ops.{table}").fetchall()))
    for arguments in (("status",), ("dlq", "list"), ("schema",), ("activate", "--dry-run")):
        shown = cli.run(*arguments)
        (read_by_people / arguments[0]).write_text(shown.stdout + shown.stderr)
    (read_by_people / "audit").write_text(json.dumps(cli.json("audit", "show", "--limit", "10000")))
    places = [read_by_people, *(cli.home / name for name in ("said", "logs", "reports", "quality", "audit", "run"))]
    search = ["grep", "-rlaF", "-f", str(tmp_path / "words"), *(str(place) for place in places if place.exists())]
    found = subprocess.run(search, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (1, "", "")  # grep: 1 is "nothing found"
    (read_by_people / "proof").write_text(words[0])
    assert subprocess.run(search, capture_output=True).returncode == 0  # and it would be found


def dump(dsn: str) -> bytes:
    """Every text of every table of a database."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_)'"
        ).fetchall()
        rows = [connection.execute(f"SELECT t::text FROM {table} AS t").fetchall() for (table,) in tables]
    return "\n".join(row[0] for found in rows for row in found if row[0]).encode()

"""A run of models as people see it in Prefect: each model a task run while it is made, a failed audit a failed task."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion import feeds, worker
from tests import clusters, foreign
from tests.commands import CommandLine
from tests.prefect_api import call

pytestmark = pytest.mark.integration
SECRET = "ana@example.org"
BROKEN = "marts.dim_users"
LONG_AGO = datetime.now(UTC) - timedelta(days=20)  # before what the audit of staging looks at


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A home with one search, a person with a negative booking, and no model made yet."""
    from tests.conftest import temporary_home

    with temporary_home() as home:
        line = CommandLine(home)
        clusters.start(line.settings, migrated=True)
        folder = tmp_path_factory.mktemp("events")
        search = foreign.search(1, timestamp=LONG_AGO.isoformat(), session_id="s", user_id="ana")
        (folder / "events.jsonl").write_bytes(foreign.line(**search))
        person = {"user_id": "ana", "email": SECRET, "name": "Ana Lima", "updated_at": LONG_AGO.isoformat()}
        (folder / "user_profiles.jsonl").write_text(json.dumps(person) + "\n")
        worker.ingest_files(line.settings, folder)
        feeds.ingest_feeds(line.settings, folder, now=worker.utc_now())
        with warehouse.connect(line.settings) as lake:  # past the contract, which refuses it
            when, payload = LONG_AGO.replace(tzinfo=None), json.dumps({"click_event_id": "?", "booking_value": -5})
            lake.execute(
                "INSERT INTO raw.conversion_events VALUES ('c', ?, 'ana', 's', ?, 1, ?, 'test', '1', 'test')",
                [when, payload, when],
            )
        with line.warm():
            yield line


def asked(cli: CommandLine, what: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    answer = call(cli.settings, f"/{what}/filter", question)
    return list(answer.raise_for_status().json())


def newest_run(cli: CommandLine) -> str:
    question = {"flows": {"name": {"any_": ["transformation"]}}, "sort": "START_TIME_DESC", "limit": 1}
    [run] = asked(cli, "flow_runs", question)
    assert run["state_type"] == "FAILED"
    return str(run["id"])


def tasks(cli: CommandLine, run: str, models: int) -> dict[str, dict[str, Any]]:
    """The task runs of as many models, ended: the server takes them from events, a moment after the run."""
    ends = time.monotonic() + 60
    while True:
        found = {each["name"]: each for each in asked(cli, "task_runs", {"flow_runs": {"id": {"any_": [run]}}})}
        over = [each for each in found.values() if each["state_type"] in ("COMPLETED", "FAILED", "CANCELLED")]
        if len(over) >= models or time.monotonic() > ends:
            return found
        time.sleep(0.5)


def recorded(cli: CommandLine) -> dict[str, dict[str, Any]]:
    """The newest run in `ops.model_runs`."""
    rows = cli.json("query", "SELECT * FROM ops.model_runs ORDER BY started_at")
    newest = rows[-1]["run_id"]
    return {row["model"]: row for row in rows if row["run_id"] == newest}


def test_a_failed_audit_is_a_failed_task_with_its_rows_and_what_does_not_depend_on_it_is_made(cli: CommandLine) -> None:
    done = cli.run("transform")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{BROKEN} breaks audit assert_never in 1 rows, for example user_id=ana, " in done.stderr

    run = newest_run(cli)
    kept = recorded(cli)
    seen = tasks(cli, run, len(kept))
    failed = seen[BROKEN]
    assert failed["state_type"] == "FAILED"
    assert "breaks audit assert_never in 1 rows" in failed["state"]["message"]
    assert {seen[name]["state_name"] for name in ("marts.mart_user_segments", "activation.act_crm_user_segments")} == {
        "Skipped"
    }
    funnel = seen["marts.fct_search_funnel"]
    assert funnel["state_type"] == "COMPLETED"
    assert funnel["state"]["message"].startswith("1 rows of 2015-01-01 to ")

    assert {name: row["status"] for name, row in kept.items()} == {
        name: {"COMPLETED": "succeeded", "FAILED": "failed", "CANCELLED": "skipped"}[each["state_type"]]
        for name, each in seen.items()
    }
    assert kept[BROKEN]["error"] in failed["state"]["message"]
    made = [name for name, row in kept.items() if row["status"] == "succeeded"]
    # A task began with its model, not after the run: it lasts as long.
    assert sum(seen[name]["total_run_time"] for name in made) > 0.9 * sum(kept[name]["duration_s"] for name in made)

    found = asked(cli, "artifacts", {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"like_": "audit-%"}}})
    [rows] = [each for each in found if each["key"] == "audit-marts-dim-users-assert-never"]
    assert rows["task_run_id"] == failed["id"]
    [row] = json.loads(rows["data"])
    assert (row["user_id"], row["email"]) == ("ana", "•••")
    assert SECRET not in done.stderr + json.dumps(found) + json.dumps(seen)


def test_fail_fast_begins_no_other_model(cli: CommandLine) -> None:
    assert cli.run("transform", "--fail-fast").returncode == 1
    kept = recorded(cli)
    seen = tasks(cli, newest_run(cli), len(kept))
    over = next(row for row in kept.values() if row["status"] == "failed")
    assert [name for name, each in seen.items() if each["state_type"] == "FAILED"] == [over["model"]]
    begun_later = [
        name for name, row in kept.items() if row["status"] == "succeeded" and row["started_at"] > over["started_at"]
    ]
    assert begun_later == []
    assert {each["state_name"] for name, each in seen.items() if kept[name]["status"] == "skipped"} == {"Skipped"}


# From here on followers, on the same home.
FUNNEL = "SELECT count(*)::INTEGER FROM marts.fct_search_funnel"
COMPLETED = "SELECT count(*)::INTEGER FROM ops.stage_runs WHERE stage = 'transformation' AND status = 'completed'"
PASSES = "SELECT run_id, list(model) AS models FROM ops.model_runs GROUP BY ALL"


def answer(cli: CommandLine, query: str) -> int:
    with warehouse.connect(cli.settings, read_only=True) as lake:
        [(found,)] = lake.execute(query).fetchall()
    return int(found)


def until(cli: CommandLine, follower: subprocess.Popen[str], query: str, wanted: int) -> None:
    ends = time.monotonic() + 300
    while (found := answer(cli, query)) < wanted:
        assert follower.poll() is None, follower.communicate()
        assert time.monotonic() < ends, f"{query} says {found}, not {wanted}"
        time.sleep(0.3)


def arrives(cli: CommandLine, folder: Path, number: int, when: datetime) -> None:
    path = folder / f"{number}.jsonl"
    path.write_bytes(foreign.line(**foreign.search(number, timestamp=when.isoformat(), session_id="s")) + b"\n")
    assert worker.ingest_files(cli.settings, path).counts.stored == 1


def test_a_follower_brings_new_searches_goes_on_after_a_kill_and_ends_in_order(
    cli: CommandLine, tmp_path: Path
) -> None:
    with warehouse.connect(cli.settings) as lake:
        lake.execute("DELETE FROM raw.conversion_events")
    arrives(cli, tmp_path, 2, LONG_AGO)  # so that its day is made again, without the booking
    assert answer(cli, COMPLETED) == 0
    follower = cli.start("transform", "--follow", "--json")
    until(cli, follower, COMPLETED, 1)
    assert answer(cli, FUNNEL) == 2
    arrives(cli, tmp_path, 3, datetime.now(UTC))
    until(cli, follower, FUNNEL, 3)
    follower.kill()
    follower.communicate()

    arrives(cli, tmp_path, 4, datetime.now(UTC))
    follower = cli.start("transform", "--follow", "--json")
    until(cli, follower, COMPLETED, 2)
    assert answer(cli, FUNNEL) == 4
    arrives(cli, tmp_path, 5, datetime.now(UTC))
    until(cli, follower, FUNNEL, 5)
    follower.send_signal(signal.SIGTERM)
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0, err
    found = json.loads(out)
    assert found["passes"] >= 2
    assert found["failed_passes"] == 0
    # New searches come by passes over the funnel and what stands before it, and nothing else.
    made = [{model.partition(".")[2] for model in row["models"]} for row in cli.json("query", PASSES)]
    assert {
        "int_session_days",
        "int_identity",
        "int_search_sessions",
        "fct_search_funnel",
        "fct_search_funnel_daily",
    } in made


def test_a_second_follower_leaves_the_models_to_the_first(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from flows import transformation
    from searchflow.services import locks

    monkeypatch.setattr(transformation, "TAKE_OVER", 0.0)
    monkeypatch.setattr(transformation, "get_run_logger", logging.getLogger)
    passes = transformation.Passes()
    with locks.advisory_lock(cli.settings, "follow models prod"):
        transformation.follow(cli.settings, "prod", False, time.monotonic() + 60, 1.0, passes)
    assert passes.made == 0

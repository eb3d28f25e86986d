"""`up` keeps the platform running, also after its processes were killed; `down` stops all of it and leaves the data."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from searchflow import lifecycle
from searchflow.services import prefect, process
from tests.commands import CommandLine
from tests.prefect_api import call

pytestmark = pytest.mark.integration
NAMES = ("dashboards", "flows", "live-traffic", "postgres", "prefect-server", "valkey")


@pytest.fixture
def cli(home: Path) -> CommandLine:
    return CommandLine(home)


def until(ready: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(1)


def stored(cli: CommandLine) -> int:
    return int(cli.json("query", "SELECT coalesce(sum(stored), 0) AS stored FROM ops.ingestion_batches")[0]["stored"])


def test_live_traffic_is_ingested_also_after_a_kill_and_down_leaves_the_data(cli: CommandLine) -> None:
    running = cli.json("up", "--rate", "50")
    assert set(running["services"].values()) == {"up"}
    settings = cli.settings
    assert httpx.get(settings.prefect_api_url.removesuffix("/api")).status_code == 200
    until(lambda: _answers(f"http://127.0.0.1:{settings.dashboards_port}/healthz"))
    until(lambda: stored(cli) > 100)

    runner = process.running(settings, "flows")
    assert runner is not None
    for each in [*psutil.Process(runner.pid).children(recursive=True), psutil.Process(runner.pid)]:
        os.kill(each.pid, signal.SIGKILL)
    until(lambda: process.running(settings, "flows") is None, 30)
    before = stored(cli)
    assert cli.json("up", "--rate", "50")["services"]["flows"] == "up"
    until(lambda: stored(cli) > before + 50)

    until(lambda: follower(cli) != "", 60)
    following = follower(cli)
    pids = [found.pid for name in NAMES if (found := process.running(settings, name))]
    assert len(pids) == len(NAMES)
    assert set(cli.json("down")["stopped"]) == set(NAMES)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    assert cli.run("query", "SELECT 1").returncode == 2  # it says that the servers are stopped, and starts none
    assert process.recorded(settings) == []
    lifecycle.start(settings)
    assert stored(cli) > before  # the data is still there
    prefect.start(settings)
    [run] = flow_runs(cli, {"id": {"any_": [following]}})
    assert run["state_type"] == "COMPLETED", run["state"]  # it was told, and said its last counts
    lifecycle.stop_all(settings)


def flow_runs(cli: CommandLine, which: dict[str, object]) -> list[dict[str, Any]]:
    question = {"flow_runs": which, "flows": {"name": {"any_": ["ingestion"]}}, "sort": "START_TIME_DESC"}
    answer = call(cli.settings, "/flow_runs/filter", question)
    return list(answer.raise_for_status().json())


def follower(cli: CommandLine) -> str:
    """The id of the run that a live process follows the streams with; those that were killed stay `Running`."""
    runner = process.running(cli.settings, "flows")
    found = flow_runs(cli, {"state": {"type": {"any_": ["RUNNING"]}}})
    began = "" if runner is None else datetime.fromtimestamp(runner.created, UTC).isoformat()
    return next((run["id"] for run in found if run["start_time"] > began), "")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False

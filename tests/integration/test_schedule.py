"""A Prefect server of ours runs what is scheduled. Two library versions that install cleanly break just this."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from searchflow.services import prefect
from tests import clusters
from tests.commands import CommandLine
from tests.prefect_api import call

pytestmark = pytest.mark.integration

SERVED = """
from datetime import timedelta
from prefect import flow, serve
from prefect.schedules import Interval

@flow
def tick() -> None:
    print("tick")

if __name__ == "__main__":
    serve(tick.to_deployment("every-ten-seconds", schedules=[Interval(timedelta(seconds=10))]), limit=1)
"""


@pytest.fixture
def cli(home: Path) -> CommandLine:
    line = CommandLine(home)
    clusters.start(line.settings, migrated=True)
    prefect.start(line.settings)
    return line


def test_a_schedule_of_ten_seconds_runs_and_the_list_commands_answer(cli: CommandLine, tmp_path: Path) -> None:
    script = tmp_path / "served.py"
    script.write_text(SERVED)
    environment = cli.environment | prefect.client_environment(cli.settings)
    with (tmp_path / "served.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        completed: list[object] = []
        while not completed and time.monotonic() < deadline:
            time.sleep(1)
            completed = scheduled_and_completed(cli)
        assert completed, (tmp_path / "served.log").read_text()[-3000:]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    for command in (["deployment", "ls"], ["flow-run", "ls"]):  # what fastapi 0.151 breaks
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command], env=os.environ | environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def scheduled_and_completed(cli: CommandLine) -> list[object]:
    query = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    answer = call(cli.settings, "/flow_runs/filter", query)
    return [run for run in answer.raise_for_status().json() if run["auto_scheduled"]]

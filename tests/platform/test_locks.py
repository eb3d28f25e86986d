"""Locks belong to the process that took them, and a wait says whom it waits for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from searchflow import lifecycle
from searchflow.errors import BusyError
from searchflow.services import forks, locks, process
from searchflow.settings import ROOT, Settings, load_settings

pytestmark = pytest.mark.integration

BEGIN = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from searchflow.services import forks, locks, process
from searchflow.settings import load_settings
settings = load_settings(home=Path(sys.argv[1]))
"""
WITH_WORKERS = """
def with_workers():
    pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
    ids = {pool.submit(os.getpid).result() for _ in range(20)}
    print(*pool._processes, flush=True)
    time.sleep(600)
"""
HOLDS_A_FILE = (
    BEGIN
    + WITH_WORKERS
    + """
with process.locked(settings, "transformation", wait=True):
    with_workers()
"""
)
HOLDS_A_CONNECTION = (
    BEGIN
    + WITH_WORKERS
    + """
with locks.advisory_lock(settings, "transform prod"):
    with_workers()
"""
)
HAS_A_RUN = (
    BEGIN
    + """
import subprocess
run = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
print(run.pid, flush=True)
time.sleep(600)
"""
)
TRANSFORMS = (
    BEGIN
    + """
from datetime import UTC, datetime
from searchflow import transformation
transformation.transform(settings, now=datetime.now(UTC))
"""
)
IS_A_RUN = (
    BEGIN
    + """
with process.ends_with(settings, "flows"):
    print("begun", flush=True)
    time.sleep(600)
"""
)


@contextmanager
def script(code: str, home: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, str(home), *arguments]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def until(ready: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def free(settings: Settings, name: str) -> bool:
    try:
        with process.locked(settings, name, wait=False, busy="{pid}"):
            return True
    except BusyError:
        return False


@pytest.fixture
def settings(home: Path) -> Settings:
    made = load_settings(home=home)
    process.prepare_home(made)
    return made


def test_a_file_lock_ends_with_its_process_though_forked_workers_live(settings: Settings) -> None:
    with script(HOLDS_A_FILE, settings.home) as holder:
        workers = [int(pid) for pid in line(holder).split()]
        assert len(workers) == 2
        assert not free(settings, "transformation")
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)  # it cannot look for its parent, as one that is busy in C
        holder.kill()
        holder.wait()
        assert all(map(runs, workers))
        started = time.monotonic()
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        assert free(settings, "transformation")
        assert time.monotonic() - started < 20
        until(lambda: not any(map(runs, workers)), 10)


def test_a_lock_on_the_server_ends_with_its_process_though_forked_workers_live(platform: Settings) -> None:
    with script(HOLDS_A_CONNECTION, platform.home) as holder:
        workers = [int(pid) for pid in line(holder).split()]
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        holder.kill()
        holder.wait()

        def mine() -> bool:
            with locks.try_advisory_lock(platform, "transform prod") as taken:
                return taken

        until(mine, 5)
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        until(lambda: not any(map(runs, workers)), 10)


def test_a_wait_says_whom_it_waits_for(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    named = {"PGAPPNAME": "searchflow transform|person|run"}
    with script(HOLDS_A_FILE, settings.home, **named) as holder:
        line(holder)
        with script(
            BEGIN + 'with process.locked(settings, "transformation", wait=True): print("mine", flush=True)',
            settings.home,
        ) as waiter:
            assert waiter.stderr is not None
            said = waiter.stderr.readline()
            holder.kill()
            assert line(waiter) == "mine"
    assert f"waiting for process {holder.pid} (searchflow transform), which holds the transformation lock since" in said
    assert "somebody" not in said


def test_a_wait_for_a_lock_on_the_server_says_whom_it_waits_for(platform: Settings) -> None:
    named = {"PGAPPNAME": "searchflow transform|person|run"}
    with script(HOLDS_A_CONNECTION, platform.home, **named) as holder:
        line(holder)
        waits = BEGIN + 'with locks.advisory_lock(settings, "transform prod"): print("mine", flush=True)'
        with script(waits, platform.home) as waiter:
            assert waiter.stderr is not None
            said = waiter.stderr.readline()
            holder.kill()
            assert line(waiter) == "mine"
    assert (
        f"waiting for process {holder.pid} (searchflow transform), which holds the transform prod lock since 20" in said
    )


def test_down_ends_flow_runs_whose_runner_was_killed(settings: Settings) -> None:
    with script(HAS_A_RUN, settings.home, IS_A_RUN) as runner:
        process.record(settings, lifecycle.RUNNER, runner.pid)
        run = int(line(runner))
        until(lambda: (settings.run_dir / forks.FOLDER / f"{run}.json").exists())
        assert forks.end_orphans(settings.run_dir) == []  # its runner lives
        assert runs(run)
        runner.kill()
        runner.wait()
        assert lifecycle.stop_all(settings) == ["1 process whose parent was killed"]
        assert not runs(run)


def test_a_process_that_got_the_id_of_an_orphan_is_left_alone(settings: Settings) -> None:
    with script(BEGIN + "time.sleep(600)", settings.home) as other:
        mine = forks.Identity.of(other.pid)
        gone = forks.Identity(mine.pid, mine.created - 3600)
        forks.Child(gone, gone).write(settings.run_dir)
        assert forks.end_orphans(settings.run_dir) == []
        assert runs(other.pid)
    assert list((settings.run_dir / forks.FOLDER).iterdir()) == []


def test_transform_killed_while_its_loader_has_workers(platform: Settings) -> None:
    """SQLMesh forks them, and each waits for work on a pipe that the others hold open."""
    with script(TRANSFORMS, platform.home) as transform:
        workers: list[psutil.Process] = []

        def loading() -> bool:
            assert transform.poll() is None, "it ended before it loaded the models"
            workers[:] = psutil.Process(transform.pid).children()
            return len(workers) >= 1

        until(loading, 120)
        transform.kill()
        transform.wait()
        assert free(platform, "transformation")
        until(lambda: not any(runs(each.pid) for each in workers), 20)


def test_every_number_of_an_advisory_lock_is_in_the_register() -> None:
    """Two uses of one number would wait for each other without a reason."""
    numbers = [value for name, value in vars(locks).items() if name.isupper() and type(value) is int]
    assert len(set(numbers)) == len(numbers)
    written = re.compile(r"pg_(?:try_)?advisory_\w+\(\s*([\d_]+)")
    for path in sorted((ROOT / "searchflow").rglob("*.sql")) + sorted((ROOT / "activations").rglob("*.sql")):
        assert {int(number) for number in written.findall(path.read_text())} <= set(numbers), path
    for package in ("searchflow", "activations", "flows", "expectations", "generators", "dashboards"):
        for path in (ROOT / package).rglob("*.py"):
            assert written.findall(path.read_text()) == [], (
                f"{path} writes a number that searchflow/services/locks.py declares"
            )

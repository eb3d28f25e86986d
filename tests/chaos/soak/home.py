"""A platform under test: a copy of the repository, a home with servers and ports of its own, and a clock that was moved."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from searchflow.services import process
from searchflow.settings import CLOCK_MARKER, ROOT, Settings, load_settings
from tests.commands import CommandLine
from tests.prefect_api import call

NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".searchflow", ".env", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", "*.egg-info"
)
COMMAND_SECONDS = 600.0
DEPLOYMENTS = {
    "validate": "validation", "activate": "activation", "deliver": "delivery", "publish": "publication",
    "reconcile": "reconciliation", "maintain": "maintenance", "monitor": "monitoring",
}  # fmt: skip
"""Deployment -> its flow, of those that the soak starts by itself."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def copy_of_the_tree(folder: Path) -> Path:
    """The code that the soak runs: a file saved in the working tree while it runs changes nothing."""
    return Path(shutil.copytree(ROOT, folder / "tree", ignore=NOT_COPIED))


@dataclass
class Platform(CommandLine):
    """`searchflow` of a copy of the tree, in one home."""

    tree: Path = ROOT
    offset: timedelta = timedelta(0)
    longest: float = COMMAND_SECONDS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environment |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": ""}
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / CLOCK_MARKER).write_text("The home of a soak: its clock may be moved.\n")
        self.move_clock(self.offset)

    def move_clock(self, offset: timedelta) -> None:
        """For processes that start from now on."""
        self.offset = offset
        self.environment["SEARCHFLOW_CLOCK_OFFSET_S"] = str(offset.total_seconds())

    @property
    def settings(self) -> Settings:
        """Of this home, as its processes read them."""
        given = {
            name.removeprefix("SEARCHFLOW_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("SEARCHFLOW_") and name != "SEARCHFLOW_ENV_FILE"
        }
        return load_settings(**given)

    def now(self) -> datetime:
        """By this home's clock."""
        return datetime.now(UTC) + self.offset

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """A command of the copy."""
        return subprocess.Popen(
            [sys.executable, "-m", "searchflow.cli", *arguments],
            env=self.environment | changes,
            cwd=self.tree,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def warm(self) -> Iterator[None]:
        """Inside, `run` gives its commands to one process of the copy, which has the libraries loaded: for looks that are
        made again and again."""
        command = [sys.executable, "-m", "tests.shell"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=self.environment, cwd=self.tree, **pipes) as self.shell:
            try:
                yield
            finally:
                self.shell.kill()
                self.shell.wait()
                self.shell = None

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        if self.shell is not None:
            return self._ask(self.shell, arguments)
        command = self.start(*arguments, **changes)
        try:
            out, err = command.communicate(timeout=self.longest)
        except subprocess.TimeoutExpired:
            command.kill()
            out, err = command.communicate()
            err = f"not done within {self.longest:.0f} s\n{err}"
        return subprocess.CompletedProcess(command.args, command.returncode, out, err)

    def kill(self, name: str) -> None:
        """SIGKILL for a recorded process and its children, as the out-of-memory killer would."""
        record = process.running(self.settings, name)
        assert record is not None, f"{name} does not run"
        found = [psutil.Process(record.pid), *psutil.Process(record.pid).children(recursive=True)]
        for each in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(found, timeout=10)

    def trigger(self, deployment: str) -> str:
        """Start a run of a deployment: the soak's day is shorter than the schedules'. Returns the run's id."""
        found = self._api("GET", f"/deployments/name/{DEPLOYMENTS[deployment]}/{deployment}")
        return str(self._api("POST", f"/deployments/{found['id']}/create_flow_run", {})["id"])

    def finished(self, run: str, seconds: float = 180) -> str:
        """Wait until a run has ended; returns how."""
        deadline, state = time.monotonic() + seconds, "PENDING"
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                state = str(self._api("GET", f"/flow_runs/{run}")["state_type"])
            if state in ENDED:
                return state
            time.sleep(1)
        return state

    def flow_runs(self, *states: str) -> Iterator[dict[str, Any]]:
        """Runs of these states: name of the flow, when it began, and what its state says."""
        names = {each["id"]: each["name"] for each in self._pages("/flows/filter", {})}
        asked = {"flow_runs": {"state": {"type": {"any_": list(states)}}}}
        for run in self._pages("/flow_runs/filter", asked):
            yield {
                "id": run["id"],
                "flow": names.get(run["flow_id"], "?"),
                "at": datetime.fromisoformat(run["end_time"] or run["start_time"] or run["created"]),
                "says": (run["state"] or {}).get("message") or run["state_name"],
            }

    def events(self) -> list[dict[str, Any]]:
        """Prefect's events of ours, every page of them."""
        wanted = {"event": {"name": ["searchflow.breach", "searchflow.recovery"]}}
        page = self._api("POST", "/events/filter", {"filter": wanted, "limit": 50})
        found = list(page["events"])
        while page.get("next_page"):
            page = call(self.settings, page["next_page"], method="GET").raise_for_status().json()
            found += page["events"]
        return found

    def _pages(self, place: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while rows := self._api("POST", place, asked | {"limit": 200, "offset": offset}):
            yield from rows
            offset += len(rows)

    def _api(self, method: str, place: str, body: dict[str, Any] | None = None) -> Any:
        return call(self.settings, place, body, method=method).raise_for_status().json()

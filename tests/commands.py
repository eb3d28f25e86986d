"""Run the command line as a user does: another process, a home of its own, free ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from searchflow.settings import ROOT, Settings, load_settings

TIMEOUT = 540  # seconds: a whole demo, beside whatever else a slow machine does; below the timeout of a test


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class CommandLine:
    """`searchflow` with the environment of one home."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    shell: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SEARCHFLOW_", "PREFECT_"))
        }
        self.environment = {
            **inherited,
            "SEARCHFLOW_ENV_FILE": "",
            "SEARCHFLOW_HOME": str(self.home),
            "SEARCHFLOW_PREFECT_PORT": str(free_port()),
            "SEARCHFLOW_DASHBOARDS_PORT": str(free_port()),
            "SEARCHFLOW_LOCAL_TARGETS": "true",
            "DO_NOT_TRACK": "1",
            **self.environment,
        }

    @property
    def settings(self) -> Settings:
        return load_settings(
            home=self.home,
            prefect_port=int(self.environment["SEARCHFLOW_PREFECT_PORT"]),
            dashboards_port=int(self.environment["SEARCHFLOW_DASHBOARDS_PORT"]),
        )

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "searchflow.cli", *arguments],
            env=self.environment | changes,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Inside, `run` and `json` give their commands to one process, which has the libraries loaded: starting them is most
        of what a command costs. For tests of what commands do together; what a process of its own does has others."""
        command = [sys.executable, "-m", "tests.shell"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=self.environment, cwd=ROOT, **pipes) as self.shell:
            try:
                yield
            finally:
                assert self.shell.stdin is not None
                self.shell.stdin.close()
                self.shell.wait(TIMEOUT)
                self.shell = None

    def _ask(self, shell: subprocess.Popen[str], arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(json.dumps(arguments) + "\n")
        shell.stdin.flush()
        status, out, err = json.loads(shell.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, out, err)

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        if self.shell is not None and not changes:
            return self._ask(self.shell, arguments)
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=TIMEOUT)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        """The command's JSON document; it must succeed and print nothing else."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}{done.stdout[-3000:]}"
        return json.loads(done.stdout)

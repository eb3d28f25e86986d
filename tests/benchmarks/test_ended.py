"""A benchmark that is ended by a signal leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from searchflow.settings import ROOT

pytestmark = pytest.mark.integration


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name something in `folder`."""
    lines = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


def test_a_benchmark_that_is_told_to_end_stops_its_servers(home: Path) -> None:
    command = [sys.executable, "-m", "searchflow.cli", "bench", "maintenance", "--size", "0.05"]
    benchmark = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"TMPDIR": str(home)}, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not processes_in(home):
            assert benchmark.poll() is None
            assert time.monotonic() < deadline, "no server was started"
            time.sleep(0.1)
        benchmark.send_signal(signal.SIGTERM)
        _, said = benchmark.communicate(timeout=60)
    finally:
        benchmark.kill()
    assert benchmark.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in said
    assert processes_in(home) == []
    assert list(home.iterdir()) == []

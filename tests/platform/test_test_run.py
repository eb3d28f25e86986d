"""The run of the tests itself: failures are told as they happen, and the written order names files that are there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from searchflow.settings import ROOT
from tests import order

TESTS = """
import time
from pathlib import Path

def test_that_fails():
    assert "what was expected" == "what was found"

def test_that_waits():
    while not Path("seen").exists():
        time.sleep(0.05)
"""
CONFTEST = """
from tests.failures import AtOnce

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config))
"""


def test_a_failure_is_told_while_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    printed = tmp_path / "printed"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_two.py",
    ]
    with printed.open("wb") as output:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
        run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)
    ends = time.monotonic() + 120
    while "what was found" not in printed.read_text():
        assert run.poll() is None, printed.read_text()
        assert time.monotonic() < ends, printed.read_text()
        time.sleep(0.05)
    assert "FAILED test_two.py::test_that_fails (call, after " in printed.read_text()
    (tmp_path / "seen").touch()
    assert run.wait(120) == 1


def test_each_file_of_the_order_is_there_and_shares_a_home_with_one_that_is() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/test_*.py")]
    assert order.missing(files) == []
    assert not set(order.ONE_HOME) & set(order.ONE_HOME.values()), "a chain of files"
    assert order.scope_of("tests/verification/test_causes.py::test_x") == "tests/verification/test_verify.py"
    assert order.scope_of("tests/verification/test_verify.py::test_x") == "tests/verification/test_verify.py"

"""Ingestion is killed with SIGKILL again and again, at random; every event ends up stored once all the same.

Twenty kills in `make test`, a hundred in `make test-long`; a thousand by hand: `python -m tests.chaos.kills --kills 1000`.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from searchflow.settings import ROOT

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.long)])
def test_kills_lose_nothing_and_count_nothing_twice(kills: int) -> None:
    # In a process of its own: forking one that has threads (as pytest has after other tests) is not safe.
    command = [sys.executable, "-m", "tests.chaos.kills", "--kills", str(kills), "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout)
    assert outcome["kills"] == sum(outcome["by_step"].values()) == kills
    assert len(outcome["by_step"]) > 5  # at random moments, and at several steps of a commit
    assert outcome["received"] == outcome["stored"] + outcome["duplicates"] + outcome["dead_letters"]

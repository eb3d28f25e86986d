"""Killed between any two steps and run again, a sync ends right, and no message is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activations.sync_files import SYNCS_DIR
from searchflow.settings import ROOT
from tests.activations.scene import CRM, EMAILS, NOW, RECO, Scene, crm_row, email_row

pytestmark = pytest.mark.integration

USERS = [f"u{number:02}" for number in range(10)]
ROWS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "crm_user_segments": (CRM, [crm_row(user) for user in USERS]),
    "abandoned_search_emails": (EMAILS, [email_row(user) for user in USERS]),
    "recommendations": (RECO, [(user, "Lisbon", 1.0, 1) for user in USERS]),
}


@pytest.fixture
def small_batches(tmp_path: Path) -> Path:
    """Copy the syncs, with two rows a batch."""
    for path in SYNCS_DIR.glob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("batch_size")]
        (tmp_path / path.name).write_text("\n".join([*lines, "batch_size: 2", ""]))
    return tmp_path


def kill_at(scene: Scene, sync: str, when: str, number: int, folder: Path) -> None:
    scene.look()
    command = [sys.executable, "-m", "tests.activations.victim", str(scene.settings.home), sync, when, str(number)]
    ended = subprocess.run(
        [*command, str(folder)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def in_destination(scene: Scene, sync: str) -> list[str]:
    if sync == "crm_user_segments":
        return [row[0] for row in scene.sql("crm", "SELECT user_id FROM crm.user_segments WHERE is_active ORDER BY 1")]
    if sync == "abandoned_search_emails":
        return sorted(message["user_id"] for message in scene.outbox())
    return sorted(name.decode().rsplit(":", 1)[1] for name in scene.redis.keys("searchflow:reco:*"))


KILLS = {
    "crm_user_segments": [("delivered", 1), ("recorded", 2)],
    "abandoned_search_emails": [("delivered", 1), ("recorded", 2), ("delivered", 3)],
    "recommendations": [("delivered", 2)],
}


@pytest.mark.parametrize("sync", list(ROWS))
def test_a_killed_sync_ends_right_when_run_again(scene: Scene, small_batches: Path, sync: str) -> None:
    scene.model(*ROWS[sync])
    recorded = 0
    for when, number in KILLS[sync]:
        kill_at(scene, sync, when, number, small_batches)
        delivered = recorded + 2 * number
        recorded = delivered - (2 if when == "delivered" else 0)
        there = in_destination(scene, sync)  # while a batch is recorded, the next may arrive
        assert there in (USERS[:delivered], USERS[: delivered + 2])
        assert scene.sql("ledger", "SELECT count(*) FROM activation.sent") == [(recorded,)]

    result = scene.run(sync, folder=small_batches)
    assert (result.added, result.unchanged) == (10 - recorded, recorded)
    assert in_destination(scene, sync) == USERS
    assert scene.run(sync, folder=small_batches).status == "unchanged"
    assert scene.reconcile(sync, folder=small_batches).drifted == 0


def test_a_sync_killed_while_it_marks_leavers_does_not_move_the_moment_they_left(
    scene: Scene, small_batches: Path
) -> None:
    table, rows = ROWS["crm_user_segments"]
    scene.model(table, rows)
    scene.run("crm_user_segments", folder=small_batches)
    scene.model(table, rows[:6])
    kill_at(scene, "crm_user_segments", "delivered", 2, small_batches)
    left = "SELECT user_id, left_at FROM crm.user_segments WHERE NOT is_active ORDER BY 1"
    before = scene.sql("crm", left)
    assert [user for user, _ in before] == USERS[6:]
    scene.run("crm_user_segments", folder=small_batches, now=NOW + timedelta(hours=1))
    assert scene.sql("crm", left) == before
    assert scene.sql("ledger", "SELECT count(*) FROM activation.sent") == [(6,)]


def test_what_a_killed_run_delivered_is_put_right_although_the_model_went_back(
    scene: Scene, small_batches: Path
) -> None:
    """The ledger knows nothing of the killed run's batch, but that it was on its way."""
    table, rows = ROWS["crm_user_segments"]
    scene.model(table, rows[:6])
    scene.run("crm_user_segments", folder=small_batches)
    scene.model(table, [crm_row("u00", "at_risk"), *rows[1:7]])  # u00 changes, u06 comes
    kill_at(scene, "crm_user_segments", "delivered", 1, small_batches)
    there = "SELECT user_id, segment FROM crm.user_segments WHERE is_active ORDER BY 1"
    assert scene.sql("crm", there) == [("u00", "at_risk"), *((user, "regular") for user in USERS[1:7])]
    scene.model(table, rows[:6])  # and both go back before anybody looks
    result = scene.run("crm_user_segments", folder=small_batches)
    assert (result.changed, result.removed, result.unchanged) == (1, 1, 5)
    assert scene.sql("crm", there) == [(user, "regular") for user in USERS[:6]]
    assert scene.reconcile("crm_user_segments", folder=small_batches).drifted == 0
    assert scene.run("crm_user_segments", folder=small_batches).status == "unchanged"
    assert scene.sql("ledger", "SELECT count(*) FROM activation.in_flight") == [(0,)]

"""A run that was a mistake can be taken back, and does not come again by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activations import SyncBlocked, undo_run
from searchflow import actor
from searchflow.errors import UsageError
from searchflow.ops import audit_log
from tests.activations.scene import CRM, EMAILS, NOW, RECO, Scene, crm_row, email_row

pytestmark = pytest.mark.integration

SYNC = "crm_user_segments"
ROWS = "SELECT user_id, segment, lifetime_revenue::text, country, is_active FROM crm.user_segments ORDER BY 1"


def test_an_undone_run_leaves_the_destination_as_it_was_and_holds_the_sync(scene: Scene) -> None:
    scene.model(CRM, [crm_row(f"u{number}") for number in range(4)] + [("u4", "regular", None, None, None, "")])
    scene.run(SYNC)
    before = scene.sql("crm", ROWS)
    scene.model(CRM, [crm_row("u0", "wrong", "0.01"), *[crm_row(f"u{number}") for number in (1, 2, 5)],
                      ("u4", "wrong", None, None, None, None)])  # fmt: skip
    mistake = scene.run(SYNC)
    assert (mistake.added, mistake.changed, mistake.removed) == (1, 2, 1)

    result = undo_run(scene.settings, SYNC, mistake.run_id, now=NOW)
    assert (result.restored, result.removed, result.left, result.overtaken) == (3, 1, 0, 0)
    assert scene.sql("crm", ROWS) == [*before, ("u5", "regular", "10.50", "CA", False)]
    assert scene.reconcile(SYNC).drifted == 0

    with pytest.raises(SyncBlocked, match=f"{actor.user()} undid its run {mistake.run_id}, and it is on hold"):
        scene.run(SYNC)
    assert scene.sql("crm", ROWS)[: len(before)] == before
    assert scene.run(SYNC, approve=True).changed == 2
    assert scene.run(SYNC).status == "unchanged"
    [approval] = audit_log.show(scene.settings, action="approve", limit=1)
    assert approval["detail"].startswith(f"by {actor.user()}: {actor.user()} undid its run {mistake.run_id}")
    [undone] = audit_log.show(scene.settings, action="undo", limit=1)
    assert (undone["rows"], undone["detail"].startswith(f"by {actor.user()}: run {mistake.run_id}")) == (4, True)
    assert scene.lake("SELECT approved_by FROM ops.sync_runs WHERE mode = 'approved'") == [(actor.user(),)]


def test_what_a_later_run_wrote_stays(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2"), crm_row("u3")])
    scene.run(SYNC)
    scene.model(CRM, [crm_row("u1", "wrong"), crm_row("u2", "wrong")])
    mistake = scene.run(SYNC)
    scene.model(CRM, [crm_row("u1", "right"), crm_row("u2", "wrong"), crm_row("u3", "back")])
    scene.run(SYNC, now=NOW + timedelta(hours=1))
    result = undo_run(scene.settings, SYNC, mistake.run_id, now=NOW + timedelta(hours=2))
    assert (result.restored, result.removed, result.overtaken) == (1, 0, 2)
    segments = scene.sql("crm", "SELECT user_id, segment FROM crm.user_segments ORDER BY 1")
    assert segments == [("u1", "right"), ("u2", "regular"), ("u3", "back")]
    again = undo_run(scene.settings, SYNC, mistake.run_id, now=NOW + timedelta(hours=3))
    assert (again.restored, again.overtaken) == (0, 3)


def test_whole_hashes_are_restored(scene: Scene) -> None:
    scene.model(RECO, [("u1", "Lisbon", 1.0, 1), ("u1", 'St. "John\'s"', 0.5, 2), ("u2", "Rome", 1.0, 1)])
    scene.run("recommendations")
    before = scene.reco("u1")
    scene.model(RECO, [("u1", "Oslo", 1.0, 1), ("u3", "Rome", 1.0, 1)])
    mistake = scene.run("recommendations")
    undo_run(scene.settings, "recommendations", mistake.run_id, now=NOW)
    assert (scene.reco("u1"), scene.reco("u2"), scene.reco("u3")) == (before, {"Rome": "1.000000"}, {})
    assert scene.reconcile("recommendations").drifted == 0


def test_messages_and_runs_that_wrote_nothing_cannot_be_undone(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1")])
    sent = scene.run("abandoned_search_emails")
    with pytest.raises(UsageError, match="the ledger keeps no rows of it"):
        undo_run(scene.settings, "abandoned_search_emails", sent.run_id, now=NOW)
    scene.model(CRM, [crm_row("u1")])
    scene.run(SYNC)
    with pytest.raises(UsageError, match="wrote nothing for crm_user_segments"):
        undo_run(scene.settings, SYNC, "20260310T120000-00000000", now=NOW)
    assert scene.run(SYNC).status == "unchanged"  # a refused undo holds nothing

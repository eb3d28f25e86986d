"""The log of syncs is kept for some days; what a destination holds is known for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activations import load_sync, prune_log, undo_run
from activations.ledger import Ledger
from searchflow.errors import UsageError
from searchflow.ops import audit_log
from tests.activations.scene import CRM, NOW, Scene, crm_row

pytestmark = pytest.mark.integration

SYNC = "crm_user_segments"
LOGGED = "SELECT id, kind FROM activation.sync_rows ORDER BY at, id"
OLD, RECENT = NOW - timedelta(days=100), NOW - timedelta(days=2)


def test_old_runs_leave_the_log_and_what_was_sent_stays_known(scene: Scene) -> None:
    scene.model(CRM, [crm_row(f"u{number}") for number in range(8)])
    first = scene.run(SYNC, now=OLD)
    scene.model(CRM, [crm_row("u0", "at_risk"), *[crm_row(f"u{number}") for number in range(1, 7)]])
    second = scene.run(SYNC, now=RECENT)
    assert (second.changed, second.removed) == (1, 1)
    scene.sql("ledger", "INSERT INTO activation.in_flight VALUES (%s, %s, 9, '{a}'), ('former', %s, 9, '{b}')",
              SYNC, first.run_id, first.run_id)  # fmt: skip
    assert len(scene.sql("ledger", LOGGED)) == 10

    pruned = prune_log(scene.settings, now=NOW)
    assert (pruned.rows, pruned.batches, pruned.unfinished) == (8, 1, 1)
    assert scene.sql("ledger", LOGGED) == [("u0", "changed"), ("u7", "removed")]
    assert scene.sql("ledger", "SELECT sync FROM activation.in_flight") == [(SYNC,)]
    assert prune_log(scene.settings, now=NOW).rows == 0
    [entry] = audit_log.show(scene.settings, action="trim", limit=1)
    assert (entry["object"], entry["rows"]) == ("sync log", 8)

    with Ledger(scene.settings) as ledger:
        [kept], [lost] = (ledger.last_sent(load_sync(SYNC), user) for user in ("u0", "u1"))
    assert (kept["kind"], kept["log"]) == ("changed", None)
    assert (lost["run_id"], lost["kind"], lost["log"]) == (first.run_id, None, "no longer kept")
    with pytest.raises(
        UsageError, match=r"has left the log of syncs, which begins at 2025-12-10.*SEARCHFLOW_LEDGER_DAYS"
    ):
        undo_run(scene.settings, SYNC, first.run_id, now=NOW)
    undone = undo_run(scene.settings, SYNC, second.run_id, now=NOW)
    assert (undone.restored, undone.removed) == (2, 0)
    assert scene.reconcile(SYNC).drifted == 0
    scene.model(CRM, [crm_row(f"u{number}") for number in range(8)])
    last = scene.run(SYNC, approve=True)
    assert (last.changed, last.removed, last.unchanged) == (0, 1, 8)  # the key that was in doubt is taken back


def test_numbers_of_batches_go_on_when_all_of_a_sync_is_old(scene: Scene) -> None:
    """An API's idempotency keys are made of them: the same number again would be taken for a repeat."""
    scene.model(CRM, [crm_row("u1")])
    scene.run(SYNC, now=OLD)
    prune_log(scene.settings, now=NOW)
    scene.model(CRM, [crm_row("u1", "at_risk")])
    scene.run(SYNC)
    assert scene.sql("ledger", "SELECT sequence FROM activation.batches ORDER BY 1") == [(0,), (1,)]
    assert scene.sql("ledger", LOGGED) == [("u1", "changed")]

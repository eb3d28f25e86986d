"""The mirror in PostgreSQL: added, changed, left, returned; and nothing more than that."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from activations import SyncBlocked, SyncResult, plan_sync
from searchflow.errors import UsageError
from tests.activations.scene import CRM, NOW, Scene, crm_row

pytestmark = pytest.mark.integration

SYNC = "crm_user_segments"


def segments(scene: Scene) -> list[tuple[Any, ...]]:
    return scene.sql("crm", "SELECT user_id, segment, is_active FROM crm.user_segments ORDER BY 1")


def counts(result: SyncResult) -> tuple[str, int, int, int, int]:
    return (result.status, result.added, result.changed, result.removed, result.unchanged)


def writes(scene: Scene) -> list[tuple[Any, ...]]:
    """Every row version in the destination and the ledger: equal before and after means that nothing was written."""
    versions = scene.sql("crm", "SELECT user_id, xmin::text, ctid::text FROM crm.user_segments ORDER BY 1")
    for table in ("sent", "batches", "row_log", "rejected"):
        versions += scene.sql("ledger", f"SELECT xmin::text, ctid::text FROM activation.{table} ORDER BY ctid")
    return versions


def test_a_first_run_adds_every_user_with_all_fields(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1", "high_value", "1234.56"), crm_row("u2")])
    assert counts(scene.run(SYNC)) == ("done", 2, 0, 0, 0)
    rows = scene.sql(
        "crm",
        "SELECT user_id, segment, lifetime_revenue::text, conversions, last_seen_at::text, country, is_active, left_at "
        "FROM crm.user_segments ORDER BY 1",
    )
    seen = "2026-03-09 08:30:00+00"
    assert rows == [
        ("u1", "high_value", "1234.56", 1, seen, "CA", True, None),
        ("u2", "regular", "10.50", 1, seen, "CA", True, None),
    ]


def test_a_second_run_sends_nothing_and_writes_nothing(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run(SYNC)
    before = writes(scene)
    assert counts(scene.run(SYNC, now=NOW + timedelta(hours=1))) == ("unchanged", 0, 0, 0, 2)
    assert writes(scene) == before


def test_a_change_sends_only_the_row_that_changed(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2"), crm_row("u3")])
    scene.run(SYNC)
    versions = dict(scene.sql("crm", "SELECT user_id, xmin::text FROM crm.user_segments"))
    scene.model(CRM, [crm_row("u1"), crm_row("u2", "at_risk"), crm_row("u3")])
    assert counts(scene.run(SYNC)) == ("done", 0, 1, 0, 2)
    after = dict(scene.sql("crm", "SELECT user_id, xmin::text FROM crm.user_segments"))
    assert [user for user in versions if versions[user] != after[user]] == ["u2"]


def test_who_leaves_is_marked_and_who_returns_is_active_again(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run(SYNC)
    scene.model(CRM, [crm_row("u1")])
    assert counts(scene.run(SYNC)) == ("done", 0, 0, 1, 1)
    assert segments(scene) == [("u1", "regular", True), ("u2", "regular", False)]
    left = scene.sql("crm", "SELECT left_at::text FROM crm.user_segments WHERE user_id = 'u2'")
    assert left == [("2026-03-10 12:00:00+00",)]

    scene.model(CRM, [crm_row("u1"), crm_row("u2", "new_user")])
    assert counts(scene.run(SYNC)) == ("done", 1, 0, 0, 1)
    assert segments(scene) == [("u1", "regular", True), ("u2", "new_user", True)]
    assert scene.sql("crm", "SELECT left_at FROM crm.user_segments WHERE user_id = 'u2'") == [(None,)]


def test_null_and_empty_text_stay_apart(scene: Scene) -> None:
    scene.model(CRM, [("u1", "a,\"b\"\n'c'", None, None, None, ""), ("u2", "regular", "0", 0, None, None)])
    scene.run(SYNC)
    rows = scene.sql("crm", "SELECT segment, lifetime_revenue, country FROM crm.user_segments ORDER BY user_id")
    assert rows[0] == ("a,\"b\"\n'c'", None, "")
    assert rows[1][2] is None
    assert scene.reconcile(SYNC).drifted == 0


def test_a_dry_run_shows_old_and_new_and_changes_nothing(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run(SYNC)
    before, runs = writes(scene), scene.lake("SELECT count(*) FROM ops.sync_runs")
    scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u3")])
    result = scene.run(SYNC, dry_run=True)
    assert counts(result) == ("planned", 1, 1, 1, 0)
    shown = {sample.kind: (sample.key, sample.before, sample.after) for sample in result.samples}
    assert shown["added"][0] == "u3"
    assert shown["removed"][0] == "u2"
    key, old, new = shown["changed"]
    assert old is not None
    assert new is not None
    assert (key, old["segment"], new["segment"]) == ("u1", "regular", "at_risk")
    assert (writes(scene), scene.lake("SELECT count(*) FROM ops.sync_runs")) == (before, runs)


def test_a_row_the_table_refuses_is_rejected_alone_and_tried_again_when_it_changes(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.run(SYNC)
    scene.sql("crm", "ALTER TABLE crm.user_segments ADD CONSTRAINT known CHECK (segment <> 'bogus')")
    scene.model(CRM, [crm_row(f"u{number}", "bogus" if number == 5 else "regular") for number in range(1, 9)])
    result = scene.run(SYNC)
    assert (result.status, result.added, result.rejected, result.unchanged) == ("partial", 6, 1, 1)
    assert len(segments(scene)) == 7
    rejected = scene.lake("SELECT key, reason FROM ops.sync_rejections")
    assert rejected == [("u5", "CheckViolation (known)")]

    again = scene.run(SYNC)
    assert (again.status, again.rejected, again.held) == ("unchanged", 0, 1)
    assert scene.run(SYNC, retry_rejected=True).rejected == 1
    scene.model(CRM, [crm_row(f"u{number}") for number in range(1, 9)])
    assert counts(scene.run(SYNC)) == ("done", 1, 0, 0, 7)
    assert scene.sql("ledger", "SELECT count(*) FROM activation.rejected") == [(0,)]


def test_a_row_without_its_required_field_is_rejected_and_the_rest_is_sent(scene: Scene) -> None:
    long = "".join(str(number) for number in range(2_500))  # as an event may have, and no index of PostgreSQL
    rows = [crm_row("u1"), ("u2", None, "1", 1, None, "CA"), (None, "regular", "1", 1, None, "CA"), crm_row(long)]
    scene.model(CRM, rows)
    result = scene.run(SYNC)
    assert (result.added, result.rejected) == (1, 3)
    reasons = scene.lake("SELECT key, reason FROM ops.sync_rejections ORDER BY ALL")
    assert reasons == [
        ("", "the key user_id is empty or cannot be used as one"),
        (f"too long: {hashlib.md5(long.encode()).hexdigest()}", "the key user_id is empty or cannot be used as one"),
        ("u2", "segment is empty, and the sync requires it"),
    ]
    assert scene.run(SYNC).status == "unchanged"


def test_a_user_whose_row_became_invalid_is_not_taken_for_one_who_left(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run(SYNC)
    scene.model(CRM, [crm_row("u1"), ("u2", None, "1", 1, None, "CA")])
    result = scene.run(SYNC)
    assert (result.removed, result.rejected) == (0, 1)
    assert segments(scene) == [("u1", "regular", True), ("u2", "regular", True)]


def test_a_key_with_two_rows_stops_the_sync(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1", "regular"), crm_row("u1", "at_risk")])
    with pytest.raises(SyncBlocked, match="user_id another row has too"):
        scene.run(SYNC, approve=True)


def test_a_model_that_is_not_there_says_what_to_run(scene: Scene) -> None:
    scene.warehouse.execute(f"ALTER TABLE {CRM} RENAME TO elsewhere")
    try:
        with pytest.raises(UsageError, match="searchflow transform"):
            scene.run(SYNC)
    finally:
        scene.warehouse.execute(f"ALTER TABLE activation.elsewhere RENAME TO {CRM.split('.')[1]}")


def test_a_plan_counts_without_a_gate_or_a_destination(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.verdicts(**{"marts.dim_users": "fail"}, at=NOW + timedelta(minutes=1))
    scene.look()
    plan = plan_sync(scene.settings, SYNC, now=NOW)
    assert (plan.added, plan.gate) == (1, ("marts.dim_users ended with fail",))


def test_every_run_leaves_its_row_in_ops(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    result = scene.run(SYNC)
    runs = scene.lake("SELECT run_id, status, added, unchanged, mode, error, started_at FROM ops.sync_runs")
    assert runs == [(result.run_id, "done", 1, 0, "run", None, NOW.replace(tzinfo=None))]

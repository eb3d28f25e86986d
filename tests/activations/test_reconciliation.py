"""Drift is found, named and repaired; and none is found where there is none."""

from __future__ import annotations

import pytest

from activations import ReconcileResult, SyncBlocked
from searchflow.errors import GateFailed
from tests.activations.scene import CRM, EMAILS, RECO, Scene, crm_row, email_row

pytestmark = pytest.mark.integration


def counts(result: ReconcileResult) -> tuple[int, ...]:
    return (
        result.expected,
        result.found,
        result.missing,
        result.different,
        result.unexpected,
        result.repaired,
    )


def test_a_crm_that_lost_and_changed_rows_is_found_and_repaired(scene: Scene) -> None:
    sync = "crm_user_segments"
    scene.model(CRM, [crm_row(f"u{number}") for number in range(6)])
    scene.run(sync)
    assert counts(scene.reconcile(sync)) == (6, 6, 0, 0, 0, 0)

    scene.sql("crm", "DELETE FROM crm.user_segments WHERE user_id = 'u1'")  # a foreign delete, or a lost write
    scene.sql("crm", "UPDATE crm.user_segments SET segment = 'vip', country = 'FR' WHERE user_id = 'u2'")
    scene.sql("crm", "UPDATE crm.user_segments SET is_active = false WHERE user_id = 'u3'")
    scene.sql("crm", "INSERT INTO crm.user_segments (user_id, segment) VALUES ('stranger', 'vip')")
    found = scene.reconcile(sync)
    assert counts(found) == (6, 5, 2, 1, 1, 0)
    assert not found.clean
    assert [(drift.kind, drift.key, drift.fields) for drift in found.samples] == [
        ("different", "u2", ("country", "segment")),
        ("missing", "u1", ()),
        ("missing", "u3", ()),
        ("unexpected", "stranger", ()),
    ]
    assert scene.run(sync).status == "unchanged"  # a sync alone does not look at the destination

    repaired = scene.reconcile(sync, repair=True)
    assert (counts(repaired), repaired.clean) == ((6, 5, 2, 1, 1, 4), True)
    assert counts(scene.reconcile(sync)) == (6, 6, 0, 0, 0, 0)
    rows = scene.sql("crm", "SELECT user_id, segment, country FROM crm.user_segments WHERE is_active ORDER BY 1")
    assert rows == [(f"u{number}", "regular", "CA") for number in range(6)]
    runs = scene.lake("SELECT expected, found, missing, different, unexpected, repaired FROM ops.reconciliation_runs")
    assert (6, 5, 2, 1, 1, 4) in runs


def test_a_cache_that_lost_and_changed_hashes_is_found_and_repaired(scene: Scene) -> None:
    sync = "recommendations"
    rows = [(f"u{number}", name, 0.5, 1) for number in range(4) for name in ("Lisbon", "Rome")]
    scene.model(RECO, [*rows, ("__popular__", "Paris", 1.0, 1)])
    scene.run(sync)
    assert counts(scene.reconcile(sync)) == (5, 5, 0, 0, 0, 0)

    scene.redis.delete("searchflow:reco:u0", "searchflow:reco:popular")
    scene.redis.hset("searchflow:reco:u1", "Rome", "soon")
    scene.redis.hdel("searchflow:reco:u2", "Rome")
    scene.redis.hset("searchflow:reco:stranger", "Oslo", "1")
    assert counts(scene.reconcile(sync)) == (5, 4, 2, 2, 1, 0)
    assert scene.reconcile(sync, repair=True).clean
    assert counts(scene.reconcile(sync)) == (5, 5, 0, 0, 0, 0)
    assert scene.reco("u1") == {"Lisbon": "0.500000", "Rome": "0.500000"}
    assert scene.reco("popular") == {"Paris": "1.000000"}
    assert scene.reco("stranger") == {}


def test_a_message_that_was_lost_is_sent_again_and_one_that_was_consumed_is_not(scene: Scene) -> None:
    sync = "abandoned_search_emails"
    scene.model(EMAILS, [email_row("u1"), email_row("u2"), email_row("u3")])
    scene.run(sync)
    consumed, lost, _ = [entry for entry, _ in scene.redis.xrange("searchflow:email:outbox")]
    scene.redis.xdel("searchflow:email:outbox", consumed)
    assert scene.reconcile(sync).clean

    scene.redis.xdel("searchflow:email:outbox", lost)  # the server came back without its last second
    scene.redis.hdel("{searchflow:email:outbox}:keys", "u2:abandoned_search:2026-03-09")
    scene.redis.hdel("{searchflow:email:outbox}:keys", "u3:abandoned_search:2026-03-09")
    scene.model(EMAILS, [email_row("u1"), email_row("u2")])
    result = scene.reconcile(sync, repair=True)
    assert (counts(result), result.clean) == ((3, 1, 2, 0, 0, 1), False)  # nobody knows any more what u3 was to read
    assert [message["user_id"] for message in scene.outbox()] == ["u3", "u2"]
    assert scene.run(sync).status == "unchanged"


def test_a_repair_that_would_send_is_behind_the_gate(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.run("crm_user_segments")
    scene.sql("crm", "DELETE FROM crm.user_segments")
    with pytest.raises(GateFailed):
        scene.reconcile("crm_user_segments", repair=True, gate={})
    assert scene.sql("crm", "SELECT count(*) FROM crm.user_segments") == [(0,)]


def test_a_repair_does_not_remove_a_whole_destination_because_the_ledger_is_new(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.run("crm_user_segments")
    scene.sql("crm", "INSERT INTO crm.user_segments (user_id) SELECT 'other' || i FROM generate_series(1, 50) i")
    with pytest.raises(SyncBlocked, match="it would remove 50 of 51"):
        scene.reconcile("crm_user_segments", repair=True)


def test_a_destination_that_was_never_filled_has_nothing_to_drift(scene: Scene) -> None:
    for sync in ("crm_user_segments", "recommendations", "abandoned_search_emails"):
        assert counts(scene.reconcile(sync)) == (0, 0, 0, 0, 0, 0)

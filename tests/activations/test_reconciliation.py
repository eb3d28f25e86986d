"""Drift is found, named and repaired; and none is found where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from activations import ReconcileResult, SyncBlocked
from activations.sync_files import SYNCS_DIR
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
    assert (counts(result), result.clean) == ((3, 1, 2, 0, 0, 1), False)  # what u3 was to read is no longer known
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


def variant(folder: Path, **replaced: str) -> Path:
    """The CRM sync with two rows a batch; `replaced` are fields and the whole line that declares them."""
    lines = []
    for line in (SYNCS_DIR / "crm_user_segments.yaml").read_text().splitlines():
        name = line.partition("name: ")[2].partition(",")[0]
        lines.append(replaced.get(name, line))
    text = "\n".join(line for line in lines if not line.startswith("batch_size"))
    (folder / "crm_user_segments.yaml").write_text(f"{text}\nbatch_size: 2\n")
    return folder


def causes(result: ReconcileResult) -> tuple[int, ...]:
    return (result.lost_writes, result.foreign_edits, result.foreign_deletes, result.foreign_rows)


def test_each_kind_of_drift_is_found_and_told_apart_and_nothing_else(scene: Scene, tmp_path: Path) -> None:
    sync, folder = "crm_user_segments", variant(tmp_path)
    first = [crm_row(f"u{number:02}") for number in range(1, 13)]
    scene.model(CRM, first)
    scene.run(sync, folder=folder)
    assert causes(scene.reconcile(sync, folder=folder)) == (0, 0, 0, 0)  # from here on these batches are seen

    changed = [crm_row(f"u{number:02}", "at_risk") for number in range(1, 5)]
    scene.model(CRM, [*changed, *first[4:10], crm_row("u13"), crm_row("u14")])
    result = scene.run(sync, folder=folder)
    assert (result.added, result.changed, result.removed, result.batches) == (2, 4, 2, 4)

    table = "crm.user_segments"
    scene.sql("crm", f"UPDATE {table} SET segment = 'regular' WHERE user_id IN ('u01', 'u02')")  # a batch went back
    scene.sql("crm", f"DELETE FROM {table} WHERE user_id IN ('u13', 'u14')")  # a batch of new rows is gone
    scene.sql("crm", f"UPDATE {table} SET is_active = true WHERE user_id IN ('u11', 'u12')")  # a removal went back
    scene.sql("crm", f"UPDATE {table} SET segment = 'regular' WHERE user_id = 'u03'")  # half a batch: no lost write
    scene.sql("crm", f"UPDATE {table} SET country = 'FR' WHERE user_id = 'u05'")
    scene.sql("crm", f"DELETE FROM {table} WHERE user_id = 'u06'")
    scene.sql("crm", f"DELETE FROM {table} WHERE user_id IN ('u09', 'u10')")  # a whole batch, but it was seen
    scene.sql("crm", f"INSERT INTO {table} (user_id, segment) VALUES ('stranger', 'vip')")
    found = scene.reconcile(sync, folder=folder)
    assert causes(found) == (6, 2, 3, 1)
    assert found.fields == {"country": 1, "segment": 3}
    told = {drift.key: (drift.cause, drift.fields) for drift in found.samples}
    assert told == {
        **dict.fromkeys(("u01", "u02"), ("lost_write", ("segment",))),
        **dict.fromkeys(("u13", "u14", "u11", "u12"), ("lost_write", ())),
        "u03": ("foreign_edit", ("segment",)),
        "u05": ("foreign_edit", ("country",)),
        **dict.fromkeys(("u06", "u09", "u10"), ("foreign_delete", ())),
        "stranger": ("foreign_row", ()),
    }
    assert scene.lake("SELECT field, drift, different FROM ops.reconciliation_fields ORDER BY 1") == [
        ("country", "ours", 1), ("segment", "ours", 3),
    ]  # fmt: skip
    assert causes(scene.reconcile(sync, folder=folder)) == (6, 2, 3, 1)  # looking twice finds the same
    assert scene.reconcile(sync, folder=folder, repair=True).clean
    assert scene.reconcile(sync, folder=folder).drifted == 0


def test_what_a_killed_run_delivered_and_did_not_record_is_no_drift(scene: Scene, tmp_path: Path) -> None:
    sync = "crm_user_segments"
    scene.model(CRM, [crm_row("u1"), crm_row("u2"), crm_row("u3")])
    scene.run(sync)
    scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u2"), crm_row("u4")])
    scene.sql("crm", "UPDATE crm.user_segments SET segment = 'at_risk' WHERE user_id = 'u1'")
    scene.sql("crm", "UPDATE crm.user_segments SET is_active = false WHERE user_id = 'u3'")
    scene.sql("crm", "INSERT INTO crm.user_segments SELECT 'u4', 'regular', 10.5, 1, last_seen_at, country "
                     "FROM crm.user_segments WHERE user_id = 'u1'")  # fmt: skip
    found = scene.reconcile(sync)
    assert (found.drifted, found.settled) == (0, 3)


def test_each_field_has_its_own_answer_to_an_edit(scene: Scene, tmp_path: Path) -> None:
    sync = "crm_user_segments"
    folder = variant(
        tmp_path,
        country="  - {name: country, type: text, drift: theirs}",
        conversions="  - {name: conversions, type: bigint, drift: report}",
    )
    scene.model(CRM, [crm_row(f"u{number}") for number in range(4)])
    scene.run(sync, folder=folder)
    edits = {"u0": "country = 'FR'", "u1": "conversions = 9", "u2": "segment = 'vip', conversions = 9, country = 'FR'"}
    for user, edit in edits.items():
        scene.sql("crm", f"UPDATE crm.user_segments SET {edit} WHERE user_id = '{user}'")
    found = scene.reconcile(sync, folder=folder, repair=True)
    assert (found.different, found.accepted, found.repaired, found.clean) == (2, 1, 1, False)
    rows = "SELECT user_id, segment, conversions, country FROM crm.user_segments ORDER BY 1"
    assert scene.sql("crm", rows) == [
        ("u0", "regular", 1, "FR"), ("u1", "regular", 9, "CA"), ("u2", "regular", 9, "FR"), ("u3", "regular", 1, "CA"),
    ]  # fmt: skip

    scene.model(CRM, [crm_row(f"u{number}", "at_risk") for number in range(4)])
    scene.run(sync, folder=folder, approve=True)  # a sync writes what is ours, and leaves what is theirs
    assert scene.sql("crm", rows) == [
        ("u0", "at_risk", 1, "FR"), ("u1", "at_risk", 1, "CA"), ("u2", "at_risk", 1, "FR"), ("u3", "at_risk", 1, "CA"),
    ]  # fmt: skip


def test_only_buckets_that_differ_are_read(scene: Scene) -> None:
    sync = "crm_user_segments"
    scene.model(CRM, [crm_row(f"u{number}") for number in range(3000)])
    scene.run(sync)
    clean = scene.reconcile(sync)
    assert (clean.expected, clean.found, clean.drifted, clean.read) == (3000, 3000, 0, 0)
    scene.sql("crm", "UPDATE crm.user_segments SET segment = 'vip' WHERE user_id = 'u7'")
    found = scene.reconcile(sync)
    assert (found.expected, found.found, found.different) == (3000, 3000, 1)
    assert 0 < found.read < 30

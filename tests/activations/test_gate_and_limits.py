"""Nothing leaves without a gate, and what looks like an accident stops before it is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from activations import GateVerdict, SyncBlocked, latest_verdicts, load_sync, not_made, stale_suites
from activations.coverage import coverage
from activations.gate import closed_by
from activations.segments import jumps
from searchflow import warehouse
from searchflow.errors import BusyError, GateFailed, NotFoundError
from tests.activations.scene import CRM, EMAILS, NOW, RECO, SUITES, Scene, crm_row

pytestmark = pytest.mark.integration

SYNC = "crm_user_segments"
LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize("outcome", ["fail", "error", "what?"])
def test_a_suite_that_did_not_pass_stops_the_sync(scene: Scene, outcome: str) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.verdicts(**{"marts.dim_users": outcome}, at=LATER)
    with pytest.raises(GateFailed, match=r"marts\.dim_users ended with") as raised:
        scene.run(SYNC, approve=True)
    assert raised.value.exit_status == 1
    assert scene.sql("crm", "SELECT to_regclass('crm.user_segments')") == [(None,)]
    assert scene.lake("SELECT status, added FROM ops.sync_runs") == [("gate_closed", 0)]


def test_rows_in_quarantine_are_neither_sent_nor_taken_back(scene: Scene) -> None:
    scene.model(CRM, [crm_row(f"u{number}") for number in range(4)])
    scene.run(SYNC)
    scene.model(CRM, [crm_row(f"u{number}", "at_risk") for number in range(3)])  # u3 left, or was lost
    scene.verdicts(**{"marts.dim_users": "quarantine", CRM: "quarantine"}, at=LATER)
    scene.quarantine("marts.dim_users", {"user_id": "u1"}, {"user_id": "u3"}, at=LATER)
    scene.quarantine(CRM, {"user_id": "u2"}, at=LATER)
    result = scene.run(SYNC)
    assert (result.changed, result.removed, result.quarantined) == (1, 0, 2)
    assert scene.sql("crm", "SELECT user_id, segment, is_active FROM crm.user_segments ORDER BY 1") == [
        ("u0", "at_risk", True), ("u1", "regular", True), ("u2", "regular", True), ("u3", "regular", True),
    ]  # fmt: skip
    assert scene.lake("SELECT quarantined FROM ops.sync_runs ORDER BY started_at, quarantined") == [(0,), (2,)]


def test_a_later_run_of_the_suite_lets_its_rows_out_again(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.verdicts(**{CRM: "quarantine"}, at=LATER)
    scene.quarantine(CRM, {"user_id": "u2"}, at=LATER)
    assert scene.run(SYNC).added == 1
    scene.verdicts(**{CRM: "pass"}, at=LATER + timedelta(minutes=1))
    assert scene.run(SYNC).added == 1


def test_one_recommendation_in_quarantine_leaves_the_users_others(scene: Scene) -> None:
    scene.model(RECO, [("u1", "Lisbon", 1.0, 1), ("u1", "Tokyo", 0.5, 2), ("u2", "Tokyo", 1.0, 1)])
    scene.verdicts(**{RECO: "quarantine"}, at=LATER)
    scene.quarantine(
        RECO, {"user_id": "u1", "destination": "Tokyo"}, {"user_id": "u2", "destination": "Tokyo"}, at=LATER
    )
    assert scene.run("recommendations").quarantined == 2
    assert scene.reco("u1") == {"Lisbon": "1.000000"}
    assert scene.reco("u2") == {}


def test_a_suite_that_never_ran_stops_the_sync(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.lake(f"DELETE FROM ops.validation_results WHERE suite = '{CRM}'")
    with pytest.raises(GateFailed, match="never ran"):
        scene.run(SYNC)


def test_suites_that_never_ran_are_among_those_that_look_before_a_sync(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.look()
    assert stale_suites(scene.settings, [SYNC]) == []
    scene.lake(f"DELETE FROM ops.validation_results WHERE suite = '{CRM}' OR suite LIKE 'raw.%'")
    never = {name for name in load_sync(SYNC).gate if name == CRM or name.startswith("raw")}
    assert CRM in never
    assert set(stale_suites(scene.settings, [SYNC])) == never


def test_a_sync_whose_model_no_transformation_made_is_known(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    made = not_made(scene.settings, [SYNC, "recommendations"])
    assert SYNC not in made
    scene.lake(f"ALTER TABLE {CRM} RENAME TO moved_away")
    try:
        assert not_made(scene.settings, [SYNC]) == [SYNC]
    finally:
        scene.lake("ALTER TABLE activation.moved_away RENAME TO act_crm_user_segments")


def test_a_warning_does_not_stop_it_and_a_later_pass_opens_the_gate(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.verdicts(**{"marts.dim_users": "fail"}, at=LATER)
    scene.verdicts(**{"marts.dim_users": "warn"}, at=LATER + timedelta(minutes=1))
    assert scene.run(SYNC).added == 1


def test_the_last_run_of_each_suite_counts_with_its_worst_outcome(scene: Scene) -> None:
    scene.verdicts(**{"marts.dim_users": "error", CRM: "warn"}, at=LATER)
    found = latest_verdicts(scene.warehouse)
    assert set(found) == set(SUITES)
    assert found["marts.dim_users"] == GateVerdict("marts.dim_users", "error", LATER.replace(tzinfo=None), 0)
    assert (found[CRM].outcome, found[RECO].outcome) == ("warn", "pass")


def test_a_flow_may_bring_its_own_verdicts(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    with pytest.raises(GateFailed):
        scene.run(SYNC, gate={})
    assert scene.run(SYNC, gate=lambda suite: GateVerdict(suite, "pass")).added == 1


def test_a_gate_may_name_a_group_of_suites() -> None:
    sync = msgspec.structs.replace(load_sync(SYNC), gate=["marts"])
    passed = {"marts.a": GateVerdict("marts.a", "pass"), "marts.b": GateVerdict("marts.b", "warn")}
    assert closed_by(sync, passed) == []
    failed = {**passed, "marts.c": GateVerdict("marts.c", "fail")}
    assert closed_by(sync, failed) == ["marts ended with fail"]
    assert closed_by(sync, {"raw.a": GateVerdict("raw.a", "pass")}) == ["marts never ran"]


def test_removing_too_many_stops_before_sending_unless_approved(scene: Scene) -> None:
    scene.model(CRM, [crm_row(f"u{number:02}") for number in range(20)])
    scene.run(SYNC)
    scene.model(CRM, [crm_row(f"u{number:02}", "at_risk" if number < 5 else "regular") for number in range(14)])
    with pytest.raises(SyncBlocked, match="it would remove 6 of 20, more than 10%") as raised:
        scene.run(SYNC)
    assert raised.value.exit_status == 1
    assert "--approve" in str(raised.value)
    assert scene.sql("crm", "SELECT count(*) FROM crm.user_segments WHERE segment = 'regular'") == [(20,)]
    planned = scene.run(SYNC, dry_run=True)
    assert planned.blocked == ("it would remove 6 of 20, more than 10%",)
    assert (scene.run(SYNC, approve=True).removed, scene.run(SYNC).status) == (6, "unchanged")
    modes = scene.lake("SELECT status, mode FROM ops.sync_runs ORDER BY ALL")
    assert modes == [("blocked", "run"), ("done", "approved"), ("done", "run"), ("unchanged", "run")]


def test_changing_too_many_stops_before_sending_unless_approved(scene: Scene) -> None:
    scene.model(CRM, [crm_row(f"u{number:02}") for number in range(10)])
    scene.run(SYNC)
    scene.model(CRM, [crm_row(f"u{number:02}", "at_risk" if number < 6 else "regular") for number in range(10)])
    with pytest.raises(SyncBlocked, match="it would change 6 of 10, more than 50%"):
        scene.run(SYNC)
    assert scene.sql("crm", "SELECT count(*) FROM crm.user_segments WHERE segment = 'at_risk'") == [(0,)]
    assert scene.run(SYNC, approve=True).changed == 6


def test_an_empty_source_stops_before_sending(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.run(SYNC)
    scene.model(CRM, [])
    with pytest.raises(SyncBlocked, match=r"activation\.act_crm_user_segments is empty"):
        scene.run(SYNC)
    assert scene.run(SYNC, approve=True).removed == 1


def test_no_abandoned_search_is_an_ordinary_night(scene: Scene) -> None:
    scene.model(EMAILS, [])
    assert scene.run("abandoned_search_emails").status == "unchanged"


def test_an_unknown_sync_lists_the_known_ones(scene: Scene) -> None:
    with pytest.raises(NotFoundError, match="Did you mean crm_user_segments") as raised:
        scene.run("crm_user_segment")
    assert raised.value.exit_status == 2


def test_the_second_of_two_syncs_says_so_and_changes_nothing(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    said: list[str] = []

    def second(done: int, total: int) -> None:
        with pytest.raises(BusyError) as raised:
            scene.run("recommendations", sleep=lambda seconds: None)
        said.append(str(raised.value))

    assert scene.run(SYNC, on_progress=second).added == 2
    assert len(said) == 1
    assert said[0].startswith("Another sync of this home is running (searchflow activate, process ")
    assert "\n" not in said[0]
    assert scene.lake("SELECT DISTINCT sync FROM ops.sync_runs") == [(SYNC,)]


def test_a_verdict_on_older_data_is_stale_until_its_suite_looks_again(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1")])
    scene.run(SYNC)
    scene.model(CRM, [crm_row("u1", "at_risk")])  # the model was made again, and no suite has looked at it
    with pytest.raises(GateFailed, match=f"{CRM} has not looked at the data that would be sent") as raised:
        scene.run(SYNC, looked=False)
    assert raised.value.exit_status == 1
    assert "Run `searchflow validate" in str(raised.value)
    assert CRM in stale_suites(scene.settings, [SYNC])
    assert scene.sql("crm", "SELECT segment FROM crm.user_segments") == [("regular",)]
    planned = scene.run(SYNC, looked=False, dry_run=True)
    assert (planned.blocked, CRM in planned.stale) == ((), True)
    with pytest.raises(GateFailed):
        scene.run(SYNC, looked=False, approve=True)  # a gate cannot be approved
    scene.look()
    assert stale_suites(scene.settings, [SYNC]) == []
    assert scene.run(SYNC, looked=False).changed == 1


def test_only_suites_whose_tables_changed_since_have_to_look_again(scene: Scene) -> None:
    """Raw suites look before the models are made: they vouch for what these were made from, until more comes in."""
    scene.model(CRM, [crm_row("u1")])
    scene.look()
    event = "INSERT INTO raw.search_events (event_id, event_ts, session_id, payload, schema_version, ingested_at, " \
            "source, source_position, batch_id) VALUES ('e1', now(), 's', '{}', 1, now(), 'x', '0', 'b')"  # fmt: skip
    scene.lake(event)  # came after the model was made: it is not in what would be sent
    assert stale_suites(scene.settings, [SYNC]) == []
    scene.lake(f"UPDATE {CRM} SET segment = 'at_risk'")
    assert stale_suites(scene.settings, [SYNC]) == [CRM, "raw.search_events"]
    scene.lake("DELETE FROM raw.search_events")


def test_a_change_behind_a_view_counts_and_upkeep_does_not(scene: Scene) -> None:
    scene.lake("CREATE TABLE activation.behind (user_id VARCHAR, score DOUBLE)")
    scene.lake("INSERT INTO activation.behind SELECT 'u' || i, 1.0 FROM range(40) r (i)")
    scene.lake("CREATE VIEW activation.between AS SELECT * FROM lake.activation.behind WHERE score > 0")
    scene.lake(
        "CREATE VIEW activation.shown AS WITH all_of_it AS (SELECT * FROM activation.between) SELECT * FROM all_of_it"
    )
    sync = msgspec.structs.replace(load_sync("recommendations"), model="activation.shown")

    def looked() -> GateVerdict:
        return GateVerdict("activation.shown", "pass", snapshot=warehouse.snapshot_id(scene.warehouse))

    def stale(verdict: GateVerdict) -> list[str]:
        return coverage(scene.warehouse, [verdict]).stale(sync, [verdict])

    try:
        before = looked()
        for function in ("ducklake_flush_inlined_data", "ducklake_merge_adjacent_files"):
            scene.lake(f"CALL {function}('lake', 'behind', schema => 'activation')" if "merge" in function else
                       f"CALL {function}('lake', schema_name => 'activation', table_name => 'behind')")  # fmt: skip
        assert warehouse.snapshot_id(scene.warehouse) > (before.snapshot or 0)
        assert stale(before) == []
        scene.lake("DELETE FROM activation.behind WHERE user_id = 'u1'")
        assert stale(before) == ["activation.shown"]
        before = looked()
        scene.lake("CREATE OR REPLACE VIEW activation.between AS SELECT * FROM lake.activation.behind")
        assert stale(before) == ["activation.shown"]
        assert stale(looked()) == []
    finally:
        for what in ("VIEW activation.shown", "VIEW activation.between", "TABLE activation.behind"):
            scene.lake(f"DROP {what}")


def test_a_segment_that_jumps_against_its_own_history_stops_before_sending(scene: Scene) -> None:
    def world(at_risk: int) -> list[tuple[Any, ...]]:
        return [crm_row(f"u{number:04}", "at_risk" if number < at_risk else "regular") for number in range(1500)]

    for at_risk in (300, 310, 330, 320, 345):
        scene.model(CRM, world(at_risk))
        scene.run(SYNC)
    scene.model(CRM, world(440))  # a step of 95: larger than any before, and smaller than half of the segment
    assert scene.run(SYNC).changed == 95
    scene.model(CRM, world(700))
    with pytest.raises(SyncBlocked, match=r"segment 'at_risk' would go from 440 to 700.*--approve"):
        scene.run(SYNC)
    assert scene.sql("crm", "SELECT count(*) FROM crm.user_segments WHERE segment = 'at_risk'") == [(440,)]
    assert scene.run(SYNC, dry_run=True).blocked == ("segment 'at_risk' would go from 440 to 700",)
    assert scene.run(SYNC, approve=True).changed == 260
    assert scene.run(SYNC).status == "unchanged"


def test_a_segment_that_always_moves_much_may_move_much() -> None:
    sync = load_sync(SYNC)
    history = [{"new_user": size} for size in (500, 100, 520, 90, 510, 110)]
    assert jumps(sync, {"new_user": 1800}, history) == []
    assert jumps(sync, {"new_user": 3000}, history) == ["segment 'new_user' would go from 500 to 3,000"]
    assert jumps(sync, {"new_user": 3000}, history[:4]) == []  # nothing is usual yet
    assert jumps(sync, {"new_user": 500, "\x1b[31mred": 900}, history) == [
        "segment '\\x1b[31mred' would go from 0 to 900"
    ]

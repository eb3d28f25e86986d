"""Every change of the lake is entered in the same transaction, and no edit of the log goes unseen."""

from __future__ import annotations

import psycopg
import pytest

from searchflow import actor, warehouse
from searchflow.ops import audit_log
from searchflow.ops.audit_log import AuditBroken
from searchflow.services import postgres
from searchflow.settings import Settings

pytestmark = pytest.mark.integration


def written(settings: Settings, rows: int = 3) -> None:
    """A small commit (inlined in the catalog) and a large one (a file), under a name and a run."""
    with actor.announced("ingestion", "run-7"), warehouse.connect(settings) as connection:
        connection.execute(f"INSERT INTO ops.stage_runs (run_id) SELECT 'r' FROM range({rows})")
        connection.execute("INSERT INTO ops.stage_runs (run_id) SELECT 'r' FROM range(5000)")


def entries(settings: Settings, **filters: str) -> list[tuple[object, ...]]:
    found = audit_log.show(settings, **filters)
    return [(entry["action"], entry["object"], entry["rows"]) for entry in found]


def edit(settings: Settings, *statements: str) -> None:
    """What a person with all rights could do: switch the triggers off first."""
    with psycopg.connect(postgres.conninfo(settings, "catalog"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def test_a_commit_of_the_lake_enters_its_tables_rows_process_and_run(fresh_platform: Settings) -> None:
    written(fresh_platform)
    assert entries(fresh_platform, run_id="run-7", action="write") == [
        ("write", "ops.stage_runs", 5000),
        ("write", "ops.stage_runs", 3),
    ]
    [newest, _] = audit_log.show(fresh_platform, process="ingestion")
    assert newest["actor"]
    assert newest["detail"].startswith("inserted into table, snapshot ")
    assert entries(fresh_platform, object="ops.stage", process="nobody") == []


def test_a_commit_that_fails_enters_nothing(fresh_platform: Settings) -> None:
    before = audit_log.verify(fresh_platform).entries
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("BEGIN; INSERT INTO ops.stage_runs (run_id) VALUES ('r'); ROLLBACK")
    assert audit_log.verify(fresh_platform).entries == before


def test_reads_and_deliveries_are_entered_by_hand_into_the_same_chain(fresh_platform: Settings) -> None:
    audit_log.append(fresh_platform, "read", "marts.dim_users", rows=7, detail="SELECT ?")
    assert entries(fresh_platform)[0] == ("read", "marts.dim_users", 7)
    assert audit_log.verify(fresh_platform).entries == 1


@pytest.mark.parametrize("statement", ["UPDATE audit.log SET rows = 0", "DELETE FROM audit.log", "TRUNCATE audit.log"])
def test_the_log_is_append_only(fresh_platform: Settings, statement: str) -> None:
    written(fresh_platform)
    with (
        psycopg.connect(postgres.conninfo(fresh_platform, "catalog")) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="append-only"),
    ):
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "column", ["logged_at", "actor", "process", "run_id", "action", "object", "rows", "detail", "hash"]
)
def test_an_edited_entry_is_found(fresh_platform: Settings, column: str) -> None:
    written(fresh_platform)
    value = {"logged_at": "logged_at + INTERVAL '1 second'", "rows": "4"}.get(column, f"{column} || 'x'")
    edit(fresh_platform, f"UPDATE audit.log SET {column} = {value} WHERE run_id = 'run-7' AND rows = 3")
    with pytest.raises(AuditBroken, match=r"edited at entry \d+"):
        audit_log.verify(fresh_platform)


def test_a_removed_entry_is_found(fresh_platform: Settings) -> None:
    written(fresh_platform)
    edit(fresh_platform, "DELETE FROM audit.log WHERE sequence = 1")
    with pytest.raises(AuditBroken, match="entry 2"):
        audit_log.verify(fresh_platform)


def test_a_slipped_in_entry_is_found(fresh_platform: Settings) -> None:
    written(fresh_platform)
    edit(
        fresh_platform,
        "INSERT INTO audit.log SELECT max(sequence) + 1, now(), 'me', 'x', '', 'read', 'raw.search_events', 1, '', "
        "(SELECT hash FROM audit.log ORDER BY sequence DESC LIMIT 1), 'made up' FROM audit.log",
    )
    with pytest.raises(AuditBroken, match="entry 3"):
        audit_log.verify(fresh_platform)


def test_entries_cut_off_the_end_are_found_without_an_anchor(fresh_platform: Settings) -> None:
    written(fresh_platform)
    edit(fresh_platform, "DELETE FROM audit.log WHERE sequence > 1")
    with pytest.raises(AuditBroken, match="ends at entry 1, but its last one was 2: it was cut"):
        audit_log.verify(fresh_platform)


def test_entries_that_changed_places_are_found(fresh_platform: Settings) -> None:
    written(fresh_platform)
    edit(
        fresh_platform,
        "UPDATE audit.log SET sequence = 99 WHERE sequence = 1",
        "UPDATE audit.log SET sequence = 1 WHERE sequence = 2",
        "UPDATE audit.log SET sequence = 2 WHERE sequence = 99",
    )
    with pytest.raises(AuditBroken, match="edited at entry 1"):
        audit_log.verify(fresh_platform)


def test_a_chain_that_was_cut_in_the_database_with_its_head_is_found_by_the_head_outside(
    fresh_platform: Settings,
) -> None:
    for number in range(3):
        audit_log.append(fresh_platform, "read", "marts.dim_users", rows=number)
    edit(
        fresh_platform,
        "DELETE FROM audit.log WHERE sequence = 3",
        "UPDATE audit.head SET (sequence, hash) = (SELECT sequence, hash FROM audit.log WHERE sequence = 2)",
    )
    with pytest.raises(AuditBroken, match=r"Entry 3 .* rewritten or cut"):
        audit_log.verify(fresh_platform)


def test_removed_rows_are_counted_in_files_and_in_the_catalog(fresh_platform: Settings) -> None:
    written(fresh_platform)
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("UPDATE ops.stage_runs SET stage = 'x' WHERE rowid < 2")
        connection.execute("DELETE FROM ops.stage_runs WHERE stage = 'x'")
        connection.execute("DELETE FROM ops.stage_runs")
    found = audit_log.show(fresh_platform, object="ops.stage_runs", limit=3)
    assert [entry["rows"] for entry in found] == [5001, 2, 2]
    assert all(f", {entry['rows']:d} rows removed, snapshot " in entry["detail"] for entry in found)


def test_a_log_that_was_rewritten_as_a_whole_or_cut_is_found_by_its_anchors(fresh_platform: Settings) -> None:
    written(fresh_platform)
    audit_log.anchor(fresh_platform)
    head = audit_log.verify(fresh_platform)
    assert head.anchors == 1
    edit(fresh_platform, f"DELETE FROM audit.log WHERE sequence = {head.entries}")
    with pytest.raises(AuditBroken, match=f"Entry {head.entries} .* rewritten or cut"):
        audit_log.verify(fresh_platform)
    anchors = fresh_platform.home / "audit" / "anchors.jsonl"
    anchors.write_text(anchors.read_text().replace(f'"sequence": {head.entries}', f'"sequence": {head.entries - 1}'))
    with pytest.raises(AuditBroken, match="wrong signature"):
        audit_log.verify(fresh_platform)

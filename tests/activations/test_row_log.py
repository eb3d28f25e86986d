"""What happened to each row can be asked in SQL."""

from __future__ import annotations

from contextlib import closing

import pytest

from activations.ledger import make_readable
from searchflow import confined, warehouse
from tests.activations.scene import CRM, Scene, crm_row

pytestmark = pytest.mark.integration

SYNC = "crm_user_segments"


def test_every_row_has_its_operation_status_and_reason(scene: Scene) -> None:
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    first = scene.run(SYNC)
    scene.sql("crm", "ALTER TABLE crm.user_segments ADD CONSTRAINT known CHECK (segment <> 'bogus')")
    scene.model(CRM, [crm_row("u1", "bogus"), crm_row("u3"), ("u4", None, "1", 1, None, "CA")])
    second = scene.run(SYNC)
    with closing(warehouse.connect(scene.settings, read_only=True)) as connection:
        make_readable(connection, scene.settings)
        confined.confine(connection, scene.settings)  # as `searchflow query` does: it must still be readable
        rows = connection.execute(
            "SELECT run_id, id, operation, kind, status, reason FROM ledger.activation.sync_rows "
            f"WHERE sync = '{SYNC}' ORDER BY run_id, id, operation"
        ).fetchall()
        with pytest.raises(Exception, match="read-only"):
            connection.execute("DELETE FROM ledger.activation.row_log")
    assert sorted(rows, key=lambda row: (row[0] != first.run_id, row[1])) == [
        (first.run_id, "u1", "upsert", "added", "sent", None),
        (first.run_id, "u2", "upsert", "added", "sent", None),
        (second.run_id, "u1", "upsert", "changed", "rejected", "CheckViolation (known)"),
        (second.run_id, "u2", "remove", "removed", "sent", None),
        (second.run_id, "u3", "upsert", "added", "sent", None),
        (second.run_id, "u4", None, "invalid", "rejected", "segment is empty, and the sync requires it"),
    ]


def test_a_ledger_of_an_earlier_version_goes_on(scene: Scene) -> None:
    """It had every entry of the log in one table, and keys in flight one by one under the run's first batch."""
    scene.model(CRM, [crm_row("u1"), crm_row("u2"), crm_row("u3")])
    first = scene.run(SYNC)
    scene.sql("ledger", "INSERT INTO activation.row_log SELECT * FROM activation.all_rows")
    scene.sql("ledger", "UPDATE activation.sent SET kind = NULL")
    scene.sql("ledger", "DROP TABLE activation.in_flight")
    scene.sql("ledger", "CREATE TABLE activation.in_flight (sync text, run_id text, sequence bigint, key text)")
    killed = [(SYNC, first.run_id, 0, "u1"), (SYNC, "killed", 1, 'a "quoted" \\ key, {1}'), (SYNC, "killed", 1, "u2")]
    for row in killed:  # the first has its record
        scene.sql("ledger", "INSERT INTO activation.in_flight VALUES (%s, %s, %s, %s)", *row)
    scene.sql("ledger", "COMMENT ON SCHEMA activation IS 'an earlier version'")

    scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u2"), crm_row("u3")])
    second = scene.run(SYNC)
    assert (second.changed, second.removed, second.unchanged) == (2, 1, 1)  # u1, and the two in doubt
    assert scene.sql("ledger", "SELECT count(*) FROM activation.in_flight") == [(0,)]
    log = scene.sql(
        "ledger", "SELECT id, kind, run_id FROM activation.sync_rows WHERE starts_with(id, 'u') ORDER BY 1, 2"
    )
    assert log == [
        ("u1", "added", first.run_id),
        ("u1", "changed", second.run_id),
        ("u2", "added", first.run_id),
        ("u2", "changed", second.run_id),
        ("u3", "added", first.run_id),
    ]


def test_keys_in_flight_are_written_as_they_are(scene: Scene) -> None:
    keys = ['quo"te', "back\\slash", "{brace}", "comma, and space ", "NULL", "new\nline", "ünï"]
    scene.model(CRM, [crm_row(key) for key in keys])

    def note(done: int, total: int) -> None:
        found.extend(scene.sql("ledger", "SELECT sequence, unnest(keys) FROM activation.in_flight"))

    found: list[tuple[int, str]] = []
    scene.run(SYNC, on_progress=note)
    assert sorted(key for _, key in found) == sorted(keys)

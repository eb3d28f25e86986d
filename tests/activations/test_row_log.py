"""What happened to each row can be asked in SQL."""

from __future__ import annotations

from contextlib import closing

import pytest

from activations.ledger import make_readable
from searchflow import warehouse
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
        warehouse.confine(connection, scene.settings)  # as `searchflow query` does: it must still be readable
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

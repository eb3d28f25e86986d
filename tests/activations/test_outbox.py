"""Messages leave once, ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.activations.scene import EMAILS, NOW, Scene, email_row

pytestmark = pytest.mark.integration

SYNC = "abandoned_search_emails"


def test_each_message_is_one_entry_with_its_json(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1")])
    assert scene.run(SYNC).added == 1
    assert scene.outbox() == [
        {
            "idempotency_key": "u1:abandoned_search:2026-03-09",
            "user_id": "u1",
            "email": "u1@example.org",
            "name": "Name of u1",
            "locale": "fr-CA",
            "time_zone": "America/Toronto",
            "query": "hotels in Lisbon",
            "destination": "Lisbon",
            "searched_at": "2026-03-09 08:30:00",
        }
    ]


def test_a_message_is_never_sent_again_not_even_when_its_row_changes_or_returns(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1"), email_row("u2")])
    scene.run(SYNC)
    changed = (*email_row("u1")[:6], "hotels in Porto", *email_row("u1")[7:])
    for rows in ([changed], [], [changed, email_row("u2")]):
        scene.model(EMAILS, rows)
        result = scene.run(SYNC, now=NOW + timedelta(hours=1))
        assert (result.status, result.added, result.changed, result.removed) == ("unchanged", 0, 0, 0)
    assert len(scene.outbox()) == 2


def test_another_window_is_another_message(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1")])
    scene.run(SYNC)
    scene.model(EMAILS, [email_row("u1"), email_row("u1", "2026-03-10")])
    assert scene.run(SYNC).added == 1
    assert [message["idempotency_key"][-10:] for message in scene.outbox()] == ["2026-03-09", "2026-03-10"]


def test_a_ledger_that_forgot_does_not_send_twice(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1"), email_row("u2")])
    scene.run(SYNC)
    scene.sql("ledger", "DELETE FROM activation.sent")
    result = scene.run(SYNC)
    assert (result.added, result.repeated) == (2, 2)
    assert len(scene.outbox()) == 2


def test_no_personal_data_gets_into_the_ledger_results_or_ops_tables(scene: Scene) -> None:
    bad = (*email_row("u2")[:2], None, *email_row("u2")[3:])
    scene.model(EMAILS, [email_row("u1"), bad])
    planned = scene.run(SYNC, dry_run=True)
    result = scene.run(SYNC)
    assert (result.added, result.rejected) == (1, 1)
    seen = [repr(planned), repr(result)]
    seen += [repr(scene.sql("ledger", f"SELECT * FROM activation.{name}")) for name in ("sent", "rejected", "row_log")]
    seen += [repr(scene.lake(f"SELECT * FROM ops.{name}")) for name in ("sync_runs", "sync_rejections")]
    for text in seen:
        assert "example.org" not in text
        assert "Name of" not in text

"""A destination that goes away: retries, then one clear line, and the ledger knows only what was delivered."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from activations import DestinationUnavailable, run_sync
from searchflow import services
from searchflow.settings import Settings
from tests.activations.scene import EMAILS, NOW, RECO, Scene, email_row

pytestmark = pytest.mark.integration


def elsewhere(settings: Settings) -> Settings:
    """Return this home with a Redis server that is not there."""
    return settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})


@pytest.mark.parametrize(
    ("sync", "table", "row"),
    [
        ("recommendations", RECO, ("u1", "Lisbon", 1.0, 1)),
        ("abandoned_search_emails", EMAILS, email_row("u1")),
    ],
)
def test_an_absent_redis_is_tried_five_times_and_nothing_is_acknowledged(
    scene: Scene, sync: str, table: str, row: tuple[object, ...]
) -> None:
    scene.model(table, [row])
    scene.look()
    slept: list[float] = []
    with pytest.raises(DestinationUnavailable, match=r"after 5 attempts \(Redis: ConnectionError\)") as raised:
        run_sync(elsewhere(scene.settings), sync, now=NOW, sleep=slept.append)
    assert raised.value.exit_status == 1
    assert "\n" not in str(raised.value)
    assert len(slept) == 4
    assert scene.sql("ledger", "SELECT count(*) FROM activation.sent") == [(0,)]
    assert scene.lake("SELECT status, added, retried FROM ops.sync_runs") == [("failed", 0, 4)]
    assert scene.run(sync).added == 1


def test_a_redis_that_returns_during_the_retries_gets_every_message_once(scene: Scene) -> None:
    scene.model(EMAILS, [email_row("u1"), email_row("u2")])
    services.valkey.stop(scene.settings)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            services.valkey.start(scene.settings)

    try:
        result = scene.run("abandoned_search_emails", sleep=sleep)
    finally:
        services.valkey.start(scene.settings)
    assert (result.added, result.retried) == (2, 2)
    assert [message["user_id"] for message in scene.outbox()] == ["u1", "u2"]


def test_a_lost_postgres_connection_is_made_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from activations.destinations.postgres_table import PostgresTable
    from tests.activations.scene import CRM, crm_row

    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    prepare = PostgresTable.prepare

    def prepare_then_lose(self: PostgresTable) -> None:
        prepare(self)
        ours = "datname = current_database() AND pid <> pg_backend_pid()"
        scene.sql("crm", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")

    monkeypatch.setattr(PostgresTable, "prepare", prepare_then_lose)
    result = scene.run("crm_user_segments", sleep=lambda seconds: None)
    assert (result.added, result.retried) == (2, 1)

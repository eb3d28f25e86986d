"""Every way in which something of ours is written, sent or asked is in the audit log, under its process and table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

import activations
from dashboards import source
from searchflow import actor, lifecycle, maintenance, streams, warehouse
from searchflow.cli import explore
from searchflow.errors import UsageError
from searchflow.ingestion import feeds, ingest_lines, worker
from searchflow.ingestion.dead_letters import closing, letters
from searchflow.ingestion.dead_letters import replay as replaying
from searchflow.ops import audit_log, levels
from searchflow.privacy import masking, roles
from searchflow.privacy.export import export
from searchflow.settings import Settings
from tests.activations.scene import CRM, EMAILS, NOW, RECO, Scene, crm_row, email_row
from tests.ops.receiver import receiving
from tests.ops.test_levels import LATE

pytestmark = pytest.mark.integration


def clock() -> datetime:
    return NOW


def search(number: int, **more: str) -> bytes:
    known = {
        "event_id": f"018f0000-0000-7000-8000-{number:012d}",
        "event_type": "search",
        "session_id": "s",
        "query": "x",
    }
    return json.dumps(known | {"timestamp": "2026-03-10T11:00:00Z"} | more).encode()


@pytest.fixture(scope="module")
def scene(platform: Settings) -> Iterator[Scene]:
    """A home with some events, letters, a feed and models; the databases are its own."""
    from tests.conftest import temporary_home

    with temporary_home() as home:
        settings = services_on(platform, home)
        lifecycle.start(settings)
        with streams.connect(settings) as client:
            client.flushall()
            streams.publish(client, "search", [search(1), b"{", b"[", search(2, timestamp="2036-01-01T00:00:00Z")])
        scene = Scene(settings)
        yield scene
        scene.close()
        lifecycle.stop_all(settings)


def services_on(platform: Settings, home: object) -> Settings:
    from searchflow.services import postgres, valkey
    from searchflow.settings import load_settings

    return load_settings(
        home=home,
        redis_url=valkey.url(platform),
        postgres_url=f"postgresql://postgres@/postgres?host={postgres.socket_folder(platform)}",
        postgres_prefix="paths_",
    )


def new_entries(scene: Scene, act: Callable[[], object]) -> set[tuple[str, str]]:
    """(action, object) of what was entered while `act` ran. The chain must hold afterwards."""
    before = audit_log.verify(scene.settings).entries
    act()
    after = audit_log.verify(scene.settings).entries
    found = audit_log.show(scene.settings, limit=after - before) if after > before else []
    return {(entry["action"], entry["object"]) for entry in found}


def test_every_write_path_is_entered(scene: Scene) -> None:
    settings = scene.settings
    selection = letters.Selection("open")

    def ingest() -> None:
        assert worker.ingest_stream(settings, "search", clock=clock).counts.dead_letters == 3

    def feed() -> None:
        settings.feeds_dir.mkdir(exist_ok=True)
        (settings.feeds_dir / "ad_spend_1.csv").write_text(
            "spend_date,utm_source,utm_campaign,currency,cost,impressions,clicks\n2026-03-09,google,x,CAD,1.5,3,1\n"
        )
        feeds.ingest_feeds(settings, settings.feeds_dir, now=NOW)

    def models() -> None:
        scene.verdicts(
            **dict.fromkeys(sorted({s for sync in activations.load_syncs().values() for s in sync.gate}), "pass")
        )
        scene.model(CRM, [crm_row("u1"), crm_row("u2")])
        scene.model(EMAILS, [email_row("u1")])
        scene.model(RECO, [("u1", "Lisbon", 0.5, 1)])

    def lose_a_row() -> None:
        scene.sql("crm", "DELETE FROM crm.user_segments WHERE user_id = 'u1'")
        scene.reconcile("crm_user_segments", repair=True)

    def undo() -> None:
        [(run,)] = scene.lake("SELECT run_id FROM ops.sync_runs WHERE sync = 'recommendations' AND status = 'done'")
        activations.undo_run(settings, "recommendations", run, now=NOW)

    def webhook() -> None:
        with receiving() as receiver:
            told = settings.model_copy(update={"webhook_url": SecretStr(receiver.url)})
            levels.note_changes(told, [LATE], now=NOW)
            assert levels.deliver(told, now=NOW, emit=lambda *_: None).webhooks == 1

    def trim() -> None:
        with streams.connect(settings) as client:
            entry = client.xadd(streams.EVENT_STREAMS["search"], {"data": search(9)}).decode()
            with warehouse.connect(settings) as connection:  # its worker was killed before it could trim
                connection.execute(
                    f"UPDATE ops.position_search SET position = '{entry}/9' WHERE source LIKE 'searchflow%'"
                )
            assert maintenance.run(settings, now=datetime.now(UTC)).entries_trimmed == 1

    paths: dict[str, tuple[Callable[[], object], set[tuple[str, str]]]] = {
        "ingest": (
            ingest,
            {("write", "raw.search_events"), ("write", "raw.dead_letters"), ("write", "ops.position_search")},
        ),
        "direct call": (
            lambda: ingest_lines(settings, [search(7)], channel="shop", offset=0, clock=clock),
            {("write", "raw.search_events"), ("write", "ops.position_direct")},
        ),
        "feed": (feed, {("write", "raw.ad_spend")}),
        "dlq dry run": (lambda: replaying.dry_run(settings, selection, clock=clock), {("read", "raw.dead_letters")}),
        "dlq replay": (
            lambda: replaying.replay(settings, selection, clock=lambda: NOW.replace(year=2037), actor="Ada"),
            {("write", "raw.dead_letters"), ("write", "raw.search_events")},
        ),
        "dlq discard": (
            lambda: closing.discard(settings, selection, why="a test", clock=clock, actor="Ada"),
            {("write", "raw.dead_letters")},
        ),
        "a model": (models, {("write", CRM), ("write", EMAILS), ("write", RECO)}),
        "sync to the CRM": (lambda: scene.run("crm_user_segments"), {("send", "postgres_table crm_user_segments")}),
        "sync to the outbox": (
            lambda: scene.run("abandoned_search_emails"),
            {("send", "redis_stream abandoned_search_emails")},
        ),
        "sync to the cache": (lambda: scene.run("recommendations"), {("send", "redis_hash recommendations")}),
        "reconcile and repair": (
            lose_a_row,
            {("read", "postgres_table crm_user_segments"), ("send", "postgres_table crm_user_segments")},
        ),
        "undo": (undo, {("undo", "redis_hash recommendations"), ("send", "redis_hash recommendations")}),
        "approve": (
            lambda: scene.run("recommendations", approve=True),
            {("approve", "redis_hash recommendations")},
        ),
        "webhook": (webhook, {("send", "webhook")}),
        "roles": (lambda: roles.create(settings), {("grant", "roles")}),
        "export": (lambda: export(settings, CRM, settings.home / "out.csv"), {("export", CRM)}),
        "maintenance": (trim, {("trim", "streams")}),
    }
    entered = {name: new_entries(scene, act) for name, (act, _) in paths.items()}
    missing = {name: expected - entered[name] for name, (_, expected) in paths.items() if expected - entered[name]}
    assert missing == {}
    letters_written = audit_log.show(settings, object="raw.dead_letters", action="write")
    [discarded] = [entry for entry in letters_written if "2 dead letters discarded" in entry["detail"]]
    assert discarded["rows"] == 2


def test_every_question_is_entered_also_one_that_fails_and_however_its_tables_are_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore, "settings_of_command", lambda: scene.settings)
    asked = """SELECT count(*) FROM raw/* */."search_events" WHERE payload <> 'a@b.example' -- c@d.example"""
    assert new_entries(scene, lambda: explore.query(asked)) == {("read", "raw.search_events")}
    [entry] = audit_log.show(scene.settings, limit=1)
    assert entry["detail"] == 'SELECT count(*) FROM raw ."search_events" WHERE payload <> ?'

    def quote_a_value() -> None:
        with pytest.raises(UsageError, match="Could not convert"):
            explore.query("SELECT CAST(query AS INT) FROM (SELECT payload AS query FROM lake.raw.search_events)")

    assert new_entries(scene, quote_a_value) == {("read", "raw.search_events")}

    def dashboard() -> None:
        source.configure(scene.settings)
        try:
            with source.reading() as reading:
                reading.rows("SELECT count(*) AS n FROM ops.sync_runs WHERE sync = $name", {"name": "a@b.example"})
        finally:
            source.configure(None)

    assert new_entries(scene, dashboard) == {("read", "ops.sync_runs")}
    assert "example" not in str(audit_log.show(scene.settings, action="read", limit=100))


def test_the_log_is_filtered_by_actor_table_time_and_run(scene: Scene) -> None:
    settings = scene.settings
    with actor.announced("ingestion", "run-7"):
        audit_log.append(settings, "read", "raw.click_events, raw.search_events", rows=7)
    [entry] = audit_log.show(settings, run_id="run-7")
    at, tick = entry["logged_at"], timedelta(microseconds=1)
    hits = [
        {"object": "raw.search_events"}, {"object": "raw.click"}, {"actor": actor.user()}, {"process": "ingestion"},
        {"since": at}, {"until": at + tick},
    ]  # fmt: skip
    for given in hits:
        assert entry in audit_log.show(settings, run_id="run-7", **given), given  # type: ignore[arg-type]
    for given in ({"object": "search_events"}, {"actor": "nobody"}, {"since": at + tick}, {"until": at}):
        assert audit_log.show(settings, run_id="run-7", **given) == [], given  # type: ignore[arg-type]


def test_masked_views_are_entered(scene: Scene) -> None:
    with warehouse.connect(scene.settings, read_only=True) as connection:
        there = connection.execute("SELECT count(*) FROM duckdb_views() WHERE schema_name = 'masked'").fetchone()
    assert there == (0,)
    actions = {action for action, _ in new_entries(scene, lambda: masking.make_views(scene.settings))}
    assert "define" in actions

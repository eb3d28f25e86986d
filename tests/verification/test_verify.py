"""An honest platform agrees with the answer key, and whatever is spoiled in it is found by the check that watches it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from generators import RedisPublisher, load_state, next_range, publish_range
from searchflow import services, streams, verification, warehouse
from searchflow.cli import app
from searchflow.errors import NotFoundError
from searchflow.ingestion import worker
from searchflow.settings import Settings
from tests.verification.conftest import SENT, ingest

pytestmark = pytest.mark.integration
Undo = Callable[[Callable[[], Any]], None]


def failed(settings: Settings, only: str) -> list[str]:
    report = verification.verify(settings, only=only)
    return [check.check for check in report.checks if not check.passed]


def run_sql(settings: Settings, *statements: str) -> None:
    with warehouse.connect(settings) as connection:
        for statement in statements:
            connection.execute(statement)


def behind(settings: Settings, view: str) -> str:
    """The table behind a model's view."""
    schema, name = view.split(".")
    with warehouse.connect(settings, read_only=True) as connection:
        row = connection.execute(
            "SELECT sql FROM duckdb_views() WHERE schema_name = ? AND view_name = ?", [schema, name]
        ).fetchone()
    assert row is not None
    return str(row[0]).split(" FROM ")[-1].strip().rstrip(";")


def spoil(settings: Settings, undo: Undo, table: str, change: str, rows: str) -> None:
    """Change some rows of a table; afterwards they are what they were."""
    with warehouse.connect(settings, read_only=True) as connection:
        before = connection.execute(f"SELECT * FROM {table}").to_arrow_table()
    assert len(before)

    def restore() -> None:
        with warehouse.connect(settings) as connection, warehouse.transaction(connection):
            connection.register("before", before)
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM before")

    undo(restore)
    run_sql(settings, change.format(table=table, rows=rows))


def test_an_honest_platform_agrees_in_every_check(history: Settings) -> None:
    report = verification.verify(history)
    assert [check for check in report.checks if check.difference] == []
    by_name = {check.check: check for check in report.checks}
    assert by_name["raw.search_events"].expected == by_name["marts.fct_search_funnel"].found
    for name in ("crm.user_segments", "email.outbox", "recommendations.users", "raw.dead_letters", "raw.duplicates"):
        assert by_name[name].found, name
    assert report.notes == []


RAW = "SELECT {} FROM raw.search_events ORDER BY event_id LIMIT 1"
SPOILED = [
    ("raw", "raw.search_events", "DELETE FROM {table} WHERE event_id IN ({rows})", RAW.format("event_id")),
    ("raw", "raw.search_events", "INSERT INTO {table} {rows}", RAW.format("*")),
    ("raw", "raw.dead_letters", "DELETE FROM {table} WHERE reason_code IN ({rows})", "'invalid_json'"),
    ("raw", "raw.duplicates", "UPDATE ops.ingestion_batches SET duplicates = duplicates + {rows}", "1"),
]


@pytest.mark.parametrize(("only", "check", "change", "rows"), SPOILED, ids=["lost", "twice", "letters", "duplicates"])
def test_raw_is_spoiled(history: Settings, undo: Undo, only: str, check: str, change: str, rows: str) -> None:
    table = "ops.ingestion_batches" if check == "raw.duplicates" else check
    spoil(history, undo, table, change, rows)
    assert failed(history, only) == [check]


MODELS = [
    ("sessions", "intermediate.int_search_sessions", "visitor_id = 'anon:visitor'", "TRUE"),
    ("funnel", "marts.fct_search_funnel", "clicks = clicks + 1", "clicks > 0"),
    ("funnel", "marts.fct_search_funnel_daily", "revenue = revenue + 0.01", "TRUE"),
    ("kpis", "marts.mart_kpi_daily", "visitors = visitors - 1", "TRUE"),
]


@pytest.mark.parametrize(("only", "model", "change", "where"), MODELS, ids=[model for _, model, _, _ in MODELS])
def test_a_row_of_a_model_is_altered(
    history: Settings, undo: Undo, only: str, model: str, change: str, where: str
) -> None:
    row = f"rowid = (SELECT min(rowid) FROM {{table}} WHERE {where})"
    spoil(history, undo, behind(history, model), f"UPDATE {{table}} SET {change} WHERE {row}", "")
    assert failed(history, only) == [model]


def test_credits_move_to_another_channel(history: Settings, undo: Undo) -> None:
    table = behind(history, "marts.mart_campaign_attribution")
    moved = "UPDATE {table} SET channel = 'email' WHERE model = 'first_touch' AND channel = 'organic'"
    spoil(history, undo, table, moved, "")
    assert failed(history, "attribution") == ["attribution.first_touch"]


def test_a_day_of_a_model_is_credited_too_much(history: Settings, undo: Undo) -> None:
    table = behind(history, "marts.mart_campaign_attribution")
    more = "UPDATE {table} SET revenue = revenue + 1 WHERE model = 'linear' AND revenue > 0"
    spoil(history, undo, table, more, "")
    assert failed(history, "attribution") == ["attribution.totals"]


def test_a_segment_in_the_crm_is_changed(history: Settings, undo: Undo) -> None:
    with psycopg.connect(services.postgres_dsn(history, "crm"), autocommit=True) as connection:
        changed = "UPDATE crm.user_segments SET segment = %s WHERE user_id = %s"
        row = connection.execute("SELECT segment, user_id FROM crm.user_segments ORDER BY 2 LIMIT 1").fetchone()
        assert row is not None
        connection.execute(changed, ["vip", row[1]])
        try:
            assert failed(history, "crm") == ["crm.user_segments"]
        finally:
            connection.execute(changed, row)


def test_a_message_is_dropped(history: Settings, undo: Undo) -> None:
    with streams.connect(history) as client:
        [(entry, fields)] = client.xrange("searchflow:email:outbox", count=1)
        client.xdel("searchflow:email:outbox", entry)
        undo(lambda: client.xadd("searchflow:email:outbox", fields))
        assert failed(history, "outbox") == ["email.outbox"]


def test_a_recommendation_is_lost_and_the_popular_list_is_changed(history: Settings, undo: Undo) -> None:
    with streams.connect(history) as client:
        popular = client.hgetall("searchflow:reco:popular")
        first = min(popular)
        client.hset("searchflow:reco:popular", first, "0.01")
        undo(lambda: client.hset("searchflow:reco:popular", first, popular[first]))
        name = min(client.scan_iter(match="searchflow:reco:u*", count=1000))
        scores = client.hgetall(name)
        client.delete(name)
        undo(lambda: client.hset(name, mapping=scores))
        assert failed(history, "recommendations") == [
            "recommendations.users", "recommendations.scores", "recommendations.popular",
        ]  # fmt: skip


@pytest.fixture
def copied(history: Settings, tmp_path: Path) -> Path:
    return Path(shutil.copytree(history.answer_key_dir, tmp_path / "key"))


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("SEARCHFLOW_HOME", str(settings.home))
    return app.run(["verify", *arguments])


def test_a_changed_file_of_the_key_is_refused(
    history: Settings, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [part] = copied.glob("*/lines_00001.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    assert command(history, monkeypatch, "--key", str(copied)) == 2
    assert "was changed after it was sealed" in capsys.readouterr().err
    part.unlink()
    assert command(history, monkeypatch, "--key", str(copied)) == 2
    said = capsys.readouterr().err
    assert "lines_00001.parquet is missing" in said
    assert said.count("\n") == 1


def test_the_command_answers_with_its_exit_status(
    history: Settings, undo: Undo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(history, monkeypatch, "--only", "raw", "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"]
    spoil(
        history,
        undo,
        "raw.click_events",
        "DELETE FROM {table} WHERE event_ts = (SELECT max(event_ts) FROM {table})",
        "",
    )
    assert command(history, monkeypatch) == 1
    assert "raw.click_events" in capsys.readouterr().out.splitlines()[-1]
    assert command(history, monkeypatch, "--key", str(tmp_path)) == 2
    assert "There is no answer key" in capsys.readouterr().err
    with pytest.raises(NotFoundError, match="sessions"):
        verification.verify(history, only="session")


def test_a_run_without_a_seal_counts_only_where_raw_holds_it(history: Settings, copied: Path) -> None:
    [run] = copied.iterdir()
    (run / "manifest.json").unlink()
    report = verification.verify(history, folder=copied, only="funnel")
    assert report.passed
    assert run.name in report.notes[0]


def test_what_a_worker_ingests_meanwhile_is_never_missing(history: Settings) -> None:
    """A worker removes what it has committed from the streams while the lake is still read as it was before."""
    wanted = next_range(load_state(history), SENT + timedelta(hours=6))
    publish_range(history, wanted, RedisPublisher(streams.connect(history)), quiet=True)
    stop, looks = threading.Event(), list[list[str]]()

    def drain_slowly() -> None:
        while not stop.wait(0.05):
            for event_type in streams.EVENT_TYPES:
                worker.ingest_stream(history, event_type, batch_events=1)

    thread = threading.Thread(target=drain_slowly)
    thread.start()
    try:
        for _ in range(6):
            looks.append(failed(history, "raw"))
    finally:
        stop.set()
        thread.join(60)
    assert looks == [[]] * 6


def test_later_runs_add_up_and_what_waits_is_explained(history: Settings) -> None:
    """Last, because the platform is ahead of its models and destinations afterwards."""
    wanted = next_range(load_state(history), datetime.now(UTC))
    for _ in range(2):  # as after a kill: all of it was sent, and is sent again
        publish_range(history, wanted, RedisPublisher(streams.connect(history)), quiet=True)
    report = verification.verify(history, only="raw")
    assert report.passed
    assert sum(check.explained for check in report.checks) > 0
    assert "wait in the stream" in " ".join(check.why for check in report.checks)
    assert failed(history, "funnel") == []  # not ingested, so not expected in a model yet
    ingest(history)
    report = verification.verify(history)
    assert report.passed
    assert "in no model yet" in " ".join(report.notes)
    assert "lines came again" in " ".join(check.why for check in report.checks)

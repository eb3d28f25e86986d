"""Service levels: a file that says what is wrong with it, values by hand, and each change told once."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from searchflow import warehouse
from searchflow.backoff import Backoff
from searchflow.errors import ConfigurationError
from searchflow.ops import levels
from searchflow.ops.levels import Evaluated, Facts
from searchflow.ops.levels.evaluation import amount
from searchflow.ops.levels.notices import Delivered
from searchflow.services import postgres
from searchflow.settings import Settings, load_settings
from tests.ops.receiver import receiving

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FRESH = Evaluated("fresh", "marts.dim_users", "freshness", "kept", 0.0, "at most", 1200.0, "seconds", "Marts are new.")
LATE = replace(FRESH, state="broken", value=2400.0)


def ago(minutes: float) -> datetime:
    return (NOW - timedelta(minutes=minutes)).replace(tzinfo=None)


# --- the file ---------------------------------------------------------------------------------------------------

GOOD = """\
- name: fresh
  sentence: Marts are new.
  measure: freshness
  of: marts.*
  at_most: 20 minutes
"""


@pytest.mark.parametrize(
    ("change", "line", "field", "problem"),
    [
        (("20 minutes", "soon"), 5, "[0].at_most", "write a duration"),
        (("freshness", "freshnes"), 3, "[0].measure", "freshnes"),
        (("  of: marts.*", "  about: marts.*"), 4, "[0].about", "unknown field"),
        (("  at_most: 20 minutes", "  over: 1 day"), 1, "[0].at_most", "either at_most or at_least"),
        (("20 minutes", "3 days"), 1, "[0].over", "could never be broken"),
        (("of: marts.*", "of: [marts"), 5, "the file", ""),
    ],
)
def test_a_wrong_file_is_answered_with_line_and_field(
    tmp_path: Path, change: tuple[str, str], line: int, field: str, problem: str
) -> None:
    path = tmp_path / "levels.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigurationError) as raised:
        levels.load_levels(path)
    assert f"line {line}, {field}" in str(raised.value)
    assert problem in str(raised.value)


def test_two_levels_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "levels.yaml"
    path.write_text(GOOD + GOOD)
    with pytest.raises(ConfigurationError, match=r"line 6, \[1\].name: is 'fresh', which another level is called too"):
        levels.load_levels(path)


def test_every_mart_and_every_sync_is_under_a_level() -> None:
    import activations
    from searchflow.ops.levels.measures import declared_tables

    declared = levels.load_levels()
    measured = {level.measure for level in declared if level.of in ("marts.*", "*")}
    assert {"freshness", "completeness", "sync_latency", "dead_letter_share", "ingestion_lag"} <= measured
    assert {sync.model for sync in activations.load_syncs().values()} <= set(declared_tables())


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(0, "seconds", "0 seconds"), (930, "seconds", "15.5 minutes"), (0.05, "share", "5 %"), (3, "count", "3")],
)
def test_amounts_are_words(value: float, unit: str, words: str) -> None:
    assert amount(value, unit) == words


# --- values, by hand --------------------------------------------------------------------------------------------


def batch(name: str, minutes: float, stored: int, **more: Any) -> dict[str, Any]:
    committed = ago(minutes)
    known = {"batch_id": name, "shard": "search", "event_type": "search", "source": "s", "committed_at": committed}
    return known | {"received": stored, "stored": stored, "dead_letters": 0, "last_event_ts": committed} | more


def model(name: str, minutes: float, status: str = "succeeded") -> dict[str, Any]:
    return {"model": name, "environment": "prod", "started_at": ago(minutes), "duration_s": 30.0, "status": status}


def sync(minutes: float, status: str = "done") -> dict[str, Any]:
    known = {"sync": "crm", "model": "activation.act_crm_user_segments", "mode": "run", "status": status}
    return known | {"run_id": str(minutes), "started_at": ago(minutes), "finished_at": ago(minutes - 1)}


def evaluated(settings: Settings, text: str, facts: Facts | None = None) -> dict[str, tuple[str, float | None]]:
    path = settings.home / "levels.yaml"
    path.write_text(text)
    with warehouse.connect(settings, read_only=True) as connection:
        found = levels.evaluate(connection, levels.load_levels(path), facts or Facts(), now=NOW)
    return {f"{each.level} {each.target}": (each.state, each.value) for each in found}


def level(name: str, measure: str, limit: str, of: str = "*", **more: str) -> str:
    fields = {"sentence": "It is so.", "measure": measure, "of": f"'{of}'", **more}
    return f"- name: {name}\n  {limit}\n" + "".join(f"  {key}: {value}\n" for key, value in fields.items())


@pytest.mark.integration
def test_freshness_completeness_and_latency_follow_each_commit(watched: Settings, written: Callable[..., None]) -> None:
    """Commits of 50, 30 and 10 minutes ago; a transformation 25 minutes ago took two of them, and one mart failed then."""
    written("ingestion_batches", batch("a", 50, 600), batch("b", 30, 300), batch("c", 10, 100))
    taken = {"environment": "prod", "shard": "search"}
    written(
        "transformed_batches",
        {**taken, "batch_id": "a", "seen_at": ago(45)},
        {**taken, "batch_id": "b", "seen_at": ago(25)},
    )
    crm = "activation.act_crm_user_segments"
    written(
        "model_runs",
        *(model(name, minutes) for name in ("marts.dim_users", crm) for minutes in (45, 25)),
        model("marts.mart_kpi_daily", 45),
        model("marts.mart_kpi_daily", 25, "failed"),
    )
    written("sync_runs", sync(40), sync(20, "failed"))
    found = evaluated(
        watched,
        level("fresh", "freshness", "at_most: 20 minutes", "marts.*")
        + level("complete", "completeness", "at_least: 90 %", "marts.*", grace="20 minutes")
        + level("quick", "sync_latency", "at_most: 45 minutes", over="3 hours")
        + level("failing", "failing", "at_most: 0", "*", over="3 hours"),
    )
    assert found["fresh marts.dim_users"] == ("kept", 600.0)  # commit c
    assert found["fresh marts.mart_kpi_daily"] == ("broken", 1800.0)  # commit b: it failed when that was taken
    assert found["fresh marts.mart_user_segments"] == ("broken", 3000.0)  # never made
    assert found["complete marts.dim_users"] == ("kept", 1.0)
    assert found["complete marts.mart_kpi_daily"] == ("broken", pytest.approx(600 / 900))
    # a: there after 11 minutes; b: not there, 30 minutes old; c: 10 minutes old. The 95th percentile lies near b.
    state, latency = found["quick crm"]
    assert state == "kept"
    assert latency == pytest.approx(0.1 * 660 + 0.9 * 1800)
    assert found["failing model marts.mart_kpi_daily"] == ("broken", 1.0)
    assert found["failing model marts.dim_users"] == ("kept", 0.0)
    assert found["failing sync crm"] == ("broken", 1.0)


@pytest.mark.integration
def test_a_mart_is_behind_from_the_moment_on_at_which_its_own_schedule_makes_it(
    watched: Settings, written: Callable[..., None]
) -> None:
    """Made 100 minutes ago; a commit of 90 minutes ago was taken 80 minutes ago, for all marts that were due."""
    written("ingestion_batches", batch("a", 90, 100))
    written("transformed_batches", {"environment": "prod", "shard": "search", "batch_id": "a", "seen_at": ago(80)})
    due = {"marts.mart_recommendation_quality": -9999, "marts.dim_users": 95, "marts.mart_sync_lift": 15}
    written("model_runs", *(model(name, 100) | {"due_at": ago(minutes)} for name, minutes in due.items()))
    found = evaluated(
        watched,
        level("fresh", "freshness", "at_most: 20 minutes", "marts.*")
        + level("complete", "completeness", "at_least: 90 %", "marts.*", grace="30 minutes"),
    )
    assert found["fresh marts.mart_recommendation_quality"] == ("kept", 0.0)  # made once a month
    assert found["complete marts.mart_recommendation_quality"] == ("kept", 1.0)
    assert found["fresh marts.dim_users"] == ("broken", 5400.0)  # was due when the commit was taken, and not made
    assert found["complete marts.dim_users"] == ("broken", 0.0)
    assert found["fresh marts.mart_sync_lift"] == ("kept", 900.0)  # due a quarter of an hour ago
    assert found["complete marts.mart_sync_lift"] == ("kept", 1.0)


@pytest.mark.integration
def test_shares_durations_and_facts(watched: Settings, written: Callable[..., None]) -> None:
    written("ingestion_batches", batch("a", 5, 190, received=200, dead_letters=10), batch("b", 90, 9, received=90))
    stage = {"stage": "transformation", "status": "completed"}
    written("stage_runs", *({**stage, "started_at": ago(n), "duration_s": float(n)} for n in range(1, 21)))
    written("stage_runs", {**stage, "started_at": ago(30), "duration_s": 1.0, "status": "killed"})
    check = {"suite": "marts.dim_users", "run_id": "1", "checked_at": ago(3)}
    written("validation_results", {**check, "success": True}, {**check, "success": False})
    written("validation_results", {**check, "run_id": "0", "checked_at": ago(60), "success": False})
    services = {"PostgreSQL": "up", "stream server": "it does not answer", "dashboards": "not running"}
    found = evaluated(
        watched,
        level("letters", "dead_letter_share", "at_most: 4 %", over="1 hour")
        + level("letters_short", "dead_letter_share", "at_most: 4 %", over="2 minutes")
        + level("rate", "events_per_minute", "at_least: 3", "search", over="1 hour")
        + level("checks", "pass_rate", "at_least: 90 %", "marts")
        + level("slow", "duration", "at_most: 19 seconds", "stage *")
        + level("errors", "error_rate", "at_most: 4 %", "stage *")
        + level("up", "availability", "at_least: 1")
        + level("lost", "unaccounted", "at_most: 0")
        + level("lag", "ingestion_lag", "at_most: 2 minutes"),
        Facts(services, {"search": 121.0, "click": 0.0}, None),
    )
    assert found == {
        "letters all events": ("broken", 0.05),
        "letters_short all events": ("unknown", None),  # nothing came
        "rate search": ("kept", pytest.approx(200 / 60)),
        "checks marts": ("broken", 0.5),
        "slow stage transformation": ("kept", 19.0),
        "errors stage transformation": ("broken", pytest.approx(1 / 21)),
        "up PostgreSQL": ("kept", 1.0),
        "up stream server": ("broken", 0.0),
        "lost all events": ("unknown", None),
        "lag click": ("kept", 0.0),
        "lag search": ("broken", 121.0),
    }


@pytest.mark.integration
def test_states_are_kept_once_a_change_and_once_an_hour(watched: Settings) -> None:
    with warehouse.connect(watched) as connection:

        def keep(minutes: int, state: Evaluated) -> int:
            return levels.record_states(connection, [state], now=NOW + timedelta(minutes=minutes))

        assert [keep(0, FRESH), keep(5, FRESH), keep(10, LATE), keep(15, LATE), keep(70, LATE)] == [1, 0, 1, 0, 1]
        rows = connection.execute("SELECT state, since FROM ops.service_levels ORDER BY checked_at").fetchall()
        assert rows == [("kept", ago(0)), ("broken", ago(-10)), ("broken", ago(-10))]
        assert keep(60 * 24 * 91, FRESH) == 1
        assert connection.execute("SELECT count(*) FROM ops.service_levels").fetchone() == (1,)


# --- told once --------------------------------------------------------------------------------------------------


class People:
    """Who is told, with the events they got."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events: list[tuple[str, uuid.UUID]] = []

    def look(self, minutes: int, *states: Evaluated) -> list[str]:
        now = NOW + timedelta(minutes=minutes)
        return [change["kind"] for change in levels.note_changes(self.settings, states, now=now)]

    def tell(self, minutes: int) -> Delivered:
        now = NOW + timedelta(minutes=minutes)
        return levels.deliver(self.settings, now=now, emit=lambda name, notice, _: self.events.append((name, notice)))

    def statuses(self) -> list[tuple[str, str]]:
        with psycopg.connect(postgres.conninfo(self.settings, "ledger")) as connection:
            found = connection.execute("SELECT kind, webhook FROM monitoring.notices ORDER BY created_at").fetchall()
        return [(kind, webhook) for kind, webhook in found]


@pytest.mark.integration
def test_a_breach_and_a_recovery_are_told_once_each(watched: Settings) -> None:
    people = People(watched)
    unknown = replace(FRESH, state="unknown", value=None)
    looks = [people.look(n, state) for n, state in enumerate([FRESH, LATE, LATE, unknown, LATE, FRESH, FRESH, LATE])]
    assert looks == [[], ["breach"], [], [], [], ["recovery"], [], ["breach"]]
    assert people.tell(10).events == 3
    assert people.tell(11).events == 0
    assert [name for name, _ in people.events] == ["searchflow.breach", "searchflow.recovery", "searchflow.breach"]
    assert len({notice for _, notice in people.events}) == 3
    assert people.statuses() == [(kind, "none") for kind in ("breach", "recovery", "breach")]


@pytest.mark.integration
def test_targets_of_one_level_that_break_together_are_one_notice(watched: Settings) -> None:
    other = replace(LATE, target="marts.mart_kpi_daily")
    [change] = levels.note_changes(watched, [LATE, other, replace(FRESH, level="else")], now=NOW)
    assert [target["target"] for target in change["targets"]] == ["marts.dim_users", "marts.mart_kpi_daily"]
    assert change["text"] == (
        "SearchFlow, fresh BROKEN: Marts are new. Now: marts.dim_users 40 minutes, marts.mart_kpi_daily 40 minutes "
        "(at most 20 minutes)."
    )


@pytest.mark.integration
def test_the_webhook_is_signed_retried_in_order_and_never_told_twice(
    watched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchflow.ops.levels.webhook.AGAIN", Backoff(attempts=3, first=0.0))
    monkeypatch.setattr("searchflow.ops.levels.webhook.SECONDS", 60.0)  # a busy machine is no outage
    with receiving() as receiver:
        secret = SecretStr("s3cret")
        people = People(
            watched.model_copy(update={"webhook_url": SecretStr(f"{receiver.url}/hook"), "webhook_secret": secret})
        )
        people.look(0, LATE)
        receiver.answers = [503, 503, 503]
        first = people.tell(0)
        assert (first.webhooks, first.waiting, first.problem) == (0, 1, "the receiver answered 503")
        people.look(1, FRESH)
        assert people.tell(0).webhooks == 0  # not before the first one's next attempt, and the second does not overtake
        receiver.answers = [503]
        assert people.tell(2).webhooks == 2
        assert people.tell(3).webhooks == 0
        assert people.statuses() == [("breach", "sent"), ("recovery", "sent")]
        assert len(people.events) == 2
        kinds = [json.loads(request.body)["kind"] for request in receiver.requests]
        assert kinds == ["breach"] * 5 + ["recovery"]
        assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 2
        last = receiver.requests[-1]
        signed = last.headers["searchflow-timestamp"].encode() + b"." + last.body
        expected = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
        assert last.headers["searchflow-signature"] == f"sha256={expected}"
        assert last.path == "/hook"


@pytest.mark.integration
def test_a_receiver_that_is_gone_holds_nothing_up_and_is_given_up_after_a_day(
    watched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchflow.ops.levels.webhook.AGAIN", Backoff(attempts=3, first=0.0))
    monkeypatch.setattr("searchflow.ops.levels.webhook.SECONDS", 60.0)  # a busy machine is no outage
    people = People(watched.model_copy(update={"webhook_url": SecretStr("http://127.0.0.1:9/secret-path")}))
    people.look(0, LATE)
    problem = people.tell(0).problem
    assert problem == "the receiver does not answer (ConnectError)"  # and not where it is: that may be secret
    assert people.tell(60 * 25).waiting == 0
    assert people.statuses() == [("breach", "given up")]


@pytest.mark.integration
def test_a_run_that_is_killed_between_telling_and_remembering_tells_again_under_the_same_id(watched: Settings) -> None:
    people = People(watched)
    people.look(0, LATE)

    def killed(name: str, notice: uuid.UUID, _: dict[str, Any]) -> None:
        people.events.append((name, notice))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        levels.deliver(watched, now=NOW, emit=killed)
    assert people.tell(1).events == 1
    assert people.tell(2).events == 0
    [(_, first), (_, second)] = people.events
    assert first == second


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_WEBHOOK_URL"):
        load_settings(webhook_url="ftp://example.org")

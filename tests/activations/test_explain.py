"""From what a destination holds of a user back to raw events, on a simulated company and real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import yaml

from activations.explanation import UnknownUser, explain, rules
from activations.explanation.tables import PERSONAL
from activations.mail import suppression
from searchflow import domain, warehouse
from searchflow.ops import audit_log
from searchflow.settings import ROOT, Settings
from tests.activations.post import Recorder, free_port, serving
from tests.commands import CommandLine

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cli(company: CommandLine) -> Iterator[CommandLine]:
    with company.warm():
        yield company


@pytest.fixture(scope="module")
def settings(cli: CommandLine) -> Settings:
    return cli.settings


def pick(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_rule_in_words_is_the_models_rule_in_every_case_of_its_unit_test() -> None:
    cases = yaml.safe_load((ROOT / "tests" / "models" / "test_mart_user_segments.yaml").read_text())
    told, seen = domain.load(), set()
    for case in cases.values():
        as_of = datetime.fromisoformat(case["vars"]["execution_time"])
        expected = {row["user_id"]: row["segment"] for row in case["outputs"]["query"]["rows"] if "segment" in row}
        for row in case["inputs"]["marts.dim_users"]["rows"] if expected else ():
            user = {name: datetime.fromisoformat(value) if name.endswith("_at") and value else value
                    for name, value in row.items()}  # fmt: skip
            assert rules.segment(user, as_of, told)[-1].rule == expected[user["user_id"]], row
            seen.add(expected[user["user_id"]])
    assert seen == {"high_value", "new_user", "at_risk", "abandoned_search", "regular"}


def test_the_rule_in_words_is_the_models_rule_for_every_user(settings: Settings) -> None:
    with warehouse.connect(settings, read_only=True) as connection:
        cursor = connection.execute("SELECT users.*, segment, segment_as_of FROM marts.dim_users AS users "
                                    "JOIN marts.mart_user_segments USING (user_id)")  # fmt: skip
        names = [column[0] for column in cursor.description]
        users = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert users
    told = domain.load()
    for user in users:
        steps = rules.segment(user, user["segment_as_of"], told)
        assert steps[-1].rule == user["segment"], user
        assert [step.holds for step in steps] == [False] * (len(steps) - 1) + [True]


def test_the_chain_leads_from_each_destination_to_raw_events(cli: CommandLine, settings: Settings) -> None:
    [(user, search)] = pick(
        settings,
        "SELECT user_id, search_event_id FROM marts.mart_abandoned_searches JOIN activation.act_abandoned_search_emails "
        "USING (user_id, searched_at) JOIN ops.sync_assignments ON unit = user_id AND arm = 'treated' ORDER BY ALL LIMIT 1",
    )
    story = cli.json("explain", "user", user, "--sessions", "50")
    parts = {part["sync"]: part for part in story["syncs"]}
    assert set(parts) == {"abandoned_search_emails", "crm_user_segments", "recommendations"}
    [crm] = parts["crm_user_segments"]["holds"]
    assert crm["segment"] == story["segment"]["segment"] == story["segment_rules"][-1]["rule"]
    mail = parts["abandoned_search_emails"]
    assert mail["holds"][0]["idempotency_key"].startswith(f"{user}:abandoned_search:")
    assert any(search in said for said in mail["why"])
    assert {verdict["outcome"] for verdict in mail["gate"]} <= {"pass", "warn", "quarantine"}
    assert parts["recommendations"]["why"]
    events = [event for session in story["sessions"] for event in session["events"]]
    raw = pick(settings, f"SELECT event_id FROM raw.search_events WHERE user_id = '{user}'")
    assert {event_id for (event_id,) in raw} <= {event["event_id"] for event in events}
    assert search in {event["event_id"] for event in events}
    assert all(event["source"] and event["source_position"] for event in events)
    assert sum(len(session["events"]) for session in story["sessions"]) == sum(
        session["searches"] + session["clicks"] + session["conversions"] for session in story["sessions"]
    )


def test_what_is_personal_is_masked_unless_asked_for_and_the_look_is_logged(settings: Settings) -> None:
    [(user, address, name)] = pick(
        settings, "SELECT user_id, email, name FROM activation.act_abandoned_search_emails ORDER BY 1 LIMIT 1"
    )
    shown = json.dumps(explain(settings, user).as_dict(), default=str, ensure_ascii=False)
    assert address not in shown
    assert name not in shown
    told = json.dumps(explain(settings, user, personal=True).as_dict(), default=str, ensure_ascii=False)
    assert address in told
    entry = audit_log.show(settings, action="read", object="marts.dim_users", limit=1)[0]
    assert "with personal values" in entry["detail"]
    assert user not in entry["detail"]


def test_every_table_that_is_shown_masks_what_lineage_marks(settings: Settings) -> None:
    from searchflow.transformation.marks import personal_columns

    marks = personal_columns(settings)
    for table, columns in PERSONAL.items():
        assert set(marks.get(table, ())) <= set(columns), table


def test_an_unknown_user_is_one_clear_line(cli: CommandLine) -> None:
    done = cli.run("explain", "user", "unknown\x1b[31m")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Nothing is known of a user" in done.stderr
    assert "\x1b" not in done.stderr
    with pytest.raises(UnknownUser):
        explain(cli.settings, "' OR 1=1 --")


def test_people_see_a_tree(cli: CommandLine, settings: Settings) -> None:
    [(user,)] = pick(
        settings, "SELECT user_id FROM marts.dim_users WHERE clicks > 0 ORDER BY last_seen_at DESC LIMIT 1"
    )
    done = cli.run("explain", "user", user, "--sessions", "1")
    assert done.returncode == 0, done.stderr
    for said in ("crm_user_segments", "why", "gate", "marts.mart_user_segments", "✓", "sessions", "search "):
        assert said in done.stdout


def test_e_mail_from_the_command_line(cli: CommandLine) -> None:
    """Here, because the home is there: what to set, the list, the preview, the status."""
    done = cli.run("email", "deliver")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("searchflow: SEARCHFLOW_SMTP_URL: is not set.")
    assert cli.json("email", "suppress", "someone", "x@example.org") == {"changed": 2, "unchanged": 0}
    assert {row["user_id"] for row in suppression.listed(cli.settings)} == {"someone", None}
    assert "Lisbon" in cli.json("email", "preview", "--locale", "fr")["subject"]
    assert cli.run("email", "resolve").returncode == 2


def test_the_outbox_is_delivered_from_the_command_line_and_still_agrees_with_the_answer_key(cli: CommandLine) -> None:
    recorder, port = Recorder(), free_port()
    server = serving(recorder, port)
    mail_server = {
        "SEARCHFLOW_SMTP_URL": f"smtp+plain://127.0.0.1:{port}",
        "SEARCHFLOW_EMAIL_FROM": "hello@example.com",
        "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL": "https://www.example.com/out?t={token}",
        "SEARCHFLOW_EMAIL_QUIET_HOURS": "0-0",
    }
    try:
        first, second = (json.loads(cli.run("email", "deliver", "--json", **mail_server).stdout) for _ in "12")
    finally:
        server.stop()
    status = cli.json("email", "status")
    assert first["taken"] == status["outbox"] > 0
    assert first["sent"] == len(recorder.taken) > 0
    assert first["taken"] == sum(first[state] for state in ("sent", "withdrawn", "suppressed", "capped", "expired"))
    assert (second["taken"], second["sent"]) == (0, 0)
    assert sum(status["states"].values()) == status["taken"] == status["outbox"]
    [check] = cli.json("verify", "--only", "outbox")["checks"]
    assert (check["difference"], check["found"]) == (0, status["outbox"])
    [(user,)] = pick(cli.settings, "SELECT min(user_id) FROM activation.act_abandoned_search_emails AS mails JOIN "
                     "ops.sync_assignments ON unit = user_id AND arm = 'treated'")  # fmt: skip
    assert explain(cli.settings, user).messages[0]["state"] in ("sent", "capped", "withdrawn")

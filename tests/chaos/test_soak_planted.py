"""The soak's verdict sees each planted fault, and none where there is none: real tables, destinations, mail and notices
of a small home, with one thing wrong at a time."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from searchflow import services, streams, warehouse
from searchflow.clock import utc_now
from searchflow.ops.levels import webhook
from searchflow.services import process, valkey
from searchflow.settings import Settings
from tests.chaos.small_home import Small, growing, home_beside, play
from tests.chaos.soak import judgement, observer, resources, truth
from tests.chaos.soak.journal import CLOSED_GATE, STATUS, Cause, Expected
from tests.chaos.soak.judgement import Evidence
from tests.chaos.soak.resources import Sample
from tests.chaos.soak.scene import WRITTEN_TO, Post
from tests.commands import free_port
from tests.ops.receiver import receiving

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def small(platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    post, folder = Post(free_port()), tmp_path_factory.mktemp("soak")
    with valkey.client(platform) as client:
        client.flushall()
    with receiving() as receiver:
        given = {
            "webhook_url": f"{receiver.url}/{observer.FIRST}",
            "smtp_url": f"smtp+plain://127.0.0.1:{post.port}",
            "email_from": "Example Travel <hello@example.com>",
            "email_unsubscribe_url": "https://www.example.com/out?t={token}",
            "email_quiet_hours": "0-0",
        }
        post.open()
        with home_beside(platform, **given) as settings, home_beside(platform) as rebuilt:
            yield play(settings, rebuilt, post, receiver, folder)
        post.close()


# --- the faults: each leaves the home as it found it ---------------------------------------------------------------


Planted = Iterator[Evidence]


def event_lost(small: Small) -> Planted:
    [event] = small.rows("FROM raw.search_events ORDER BY event_id LIMIT 1")
    small.lake(f"DELETE FROM raw.search_events WHERE event_id = '{event[0]}'")
    yield small.looked_again()
    _insert(small, "raw.search_events", event)


def event_stored_twice(small: Small) -> Planted:
    [event] = small.rows("FROM raw.click_events ORDER BY event_id LIMIT 1")
    _insert(small, "raw.click_events", event)
    yield small.looked_again()
    small.lake(f"DELETE FROM raw.click_events WHERE event_id = '{event[0]}'")
    _insert(small, "raw.click_events", event)


def dead_letter_dropped(small: Small) -> Planted:
    [letter] = small.rows("FROM raw.dead_letters ORDER BY dead_letter_id LIMIT 1")
    small.lake(f"DELETE FROM raw.dead_letters WHERE dead_letter_id = '{letter[0]}'")
    yield small.looked_again()
    _insert(small, "raw.dead_letters", letter)


def batch_counted_wrongly(small: Small) -> Planted:
    [(batch,)] = small.rows("SELECT batch_id FROM ops.ingestion_batches WHERE event_type = 'search' LIMIT 1")
    change = "UPDATE ops.ingestion_batches SET duplicates = duplicates {} 1 WHERE batch_id = '{}'"
    small.lake(change.format("+", batch))
    yield small.looked_again()
    small.lake(change.format("-", batch))


def mail_doubled(small: Small) -> Planted:
    again = small.post.taken[0]
    with smtplib.SMTP("127.0.0.1", small.post.port) as server:
        server.send_message(again, to_addrs=[f"{again['To'].addresses[0].addr_spec}"])
    yield small.looked_again()
    small.post.taken.pop()


def alarm_muted(small: Small) -> Planted:
    request = small.receiver.requests.pop()
    yield small.looked_again()
    small.receiver.requests.append(request)


def alarm_told_twice(small: Small) -> Planted:
    assert webhook.post(small.settings, small.notice, now=utc_now()) is None
    yield small.looked_again()
    small.receiver.requests.pop()


def alarm_without_a_cause(small: Small) -> Planted:
    level = small.notice | {"id": "0" * 32, "level": "fresh_marts", "at": utc_now().isoformat()}
    assert webhook.post(small.settings, level, now=utc_now()) is None
    yield small.looked_again()
    small.receiver.requests.pop()


def gate_that_never_closes(small: Small) -> Planted:
    """A row of a mart went: the suite must close its gate, and says that all is well."""
    expected = Expected(CLOSED_GATE, "marts.fct_search_funnel_daily", 300, must=True)
    cause = Cause(2, "row deleted", utc_now(), None, "", [expected])
    found = small.looked_again()
    yield replace(found, causes=[*found.causes, cause])


def gate_that_closes_for_nothing(small: Small) -> Planted:
    table = "ops.validation_results"
    [(run,)] = small.rows(f"SELECT max(run_id) FROM {table} WHERE suite = 'marts.mart_kpi_daily'")
    one = f"WHERE run_id = '{run}' AND expectation = (SELECT min(expectation) FROM {table} WHERE run_id = '{run}')"
    small.lake(f"UPDATE {table} SET outcome = 'fail' {one}")
    yield small.looked_again()
    small.lake(f"UPDATE {table} SET outcome = 'pass' {one}")


def status_that_lies(small: Small) -> Planted:
    """The stream server is down and `status` says that all is up: what it printed is looked at as the soak does."""
    expected = Expected(STATUS, "service stream server", 120, must=True)
    cause = Cause(2, "stream server killed", utc_now(), None, "", [expected])
    said = '{"services": {"stream server": "up", "PostgreSQL": "up"}, "levels": [], "accounting": null}'
    found = small.looked_again()
    seen = list(observer.of_status(0, said, "", utc_now()))
    yield replace(found, causes=[*found.causes, cause], observations=[*found.observations, *seen])


def status_that_cries_wolf(small: Small) -> Planted:
    said = '{"services": {"stream server": "up"}, "levels": [], "accounting": {"holds": false}}'
    found = small.looked_again()
    yield replace(found, observations=[*found.observations, *observer.of_status(1, said, "", utc_now())])


def mart_row_changed(small: Small) -> Planted:
    [(text,)] = small.rows(
        "SELECT sql FROM duckdb_views() WHERE schema_name = 'marts' AND view_name = 'mart_kpi_daily'"
    )
    table = text.split("FROM ", 1)[1].strip(" ;\n")
    [(day,)] = small.rows("SELECT max(kpi_date) FROM marts.mart_kpi_daily")
    change = f"UPDATE {table} SET searches = searches {{}} 1 WHERE kpi_date = DATE '{day}'"
    small.lake(change.format("+"))
    yield small.looked_again()
    small.lake(change.format("-"))


def destination_row_changed(small: Small) -> Planted:
    with psycopg.connect(services.postgres_dsn(small.settings, "crm"), autocommit=True) as crm:
        first = "(SELECT min(user_id) FROM crm.user_segments)"
        change = "UPDATE crm.user_segments SET conversions = conversions {} 1 WHERE user_id = " + first
        crm.execute(change.format("+"))
        yield small.looked_again()
        crm.execute(change.format("-"))


def recommendation_removed(small: Small) -> Planted:
    with streams.connect(small.settings) as client:
        name = min(client.scan_iter(match=f"{truth.RECOMMENDED}*", _type="hash"))
        kept = client.hgetall(name)
        member = min(kept)
        client.hdel(name, member)
        yield small.looked_again()
        client.hset(name, member, kept[member])


LEAKER = """
import sys
kept = []
print("ready", flush=True)
for what in sys.stdin:
    kept.append(bytearray(b"x") * 1_000_000 if what == "memory\\n" else open("/dev/null"))
    print("done", flush=True)
"""


def leaking(small: Small, what: str) -> list[Sample]:
    """A real process that leaks, as the runner of the home: measured once a minute, of which each lasts a moment."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LEAKER], stdin=pipe, stdout=pipe, text=True) as leaker:
        assert leaker.stdin is not None
        assert leaker.stdout is not None
        leaker.stdout.readline()
        process.record(small.settings, "flows", leaker.pid)
        samples = []
        for minute in range(60):
            leaker.stdin.write(f"{what}\n")
            leaker.stdin.flush()
            leaker.stdout.readline()
            samples.append(Sample(minute * 60.0, resources.of_process(small.settings, "flows")))
        leaker.stdin.close()
    (small.settings.run_dir / "flows.json").unlink()
    return samples


def memory_leak(small: Small) -> Planted:
    yield replace(small.looked_again(), samples=leaking(small, "memory"))


def descriptor_leak(small: Small) -> Planted:
    yield replace(small.looked_again(), samples=leaking(small, "descriptor"))


def connection_leak(small: Small) -> Planted:
    yield replace(small.looked_again(), samples=growing("connections", 0.25))


def files_never_merged(small: Small) -> Planted:
    yield replace(small.looked_again(), samples=growing("files_a_table", 0.3))


def _insert(small: Small, table: str, row: tuple[Any, ...]) -> None:
    with warehouse.connect(small.settings) as connection:
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row))


FAULTS: dict[Callable[[Small], Planted], str] = {
    event_lost: "event lost",
    event_stored_twice: "event stored twice",
    dead_letter_dropped: "dead letter lost",
    batch_counted_wrongly: "accounting",
    mail_doubled: "double mail",
    alarm_muted: "alarm muted",
    alarm_told_twice: "alarm told twice",
    alarm_without_a_cause: "alarm without a cause",
    gate_that_never_closes: "closed gate that was not told",
    gate_that_closes_for_nothing: "closed gate without a cause",
    status_that_lies: "unwell status that was not told",
    status_that_cries_wolf: "unwell status without a cause",
    mart_row_changed: "marts differ from a rebuild",
    destination_row_changed: "destination differs from its model",
    recommendation_removed: "destination differs from its model",
    memory_leak: "memory leak",
    descriptor_leak: "resource grew",
    connection_leak: "resource grew",
    files_never_merged: "resource grew",
}
"""Fault -> the rule that must see it."""
SOON = {event_lost, alarm_without_a_cause, gate_that_never_closes, mart_row_changed, memory_leak}
"""One of each kind of evidence: rows, notices, gates, marts, measurements. The others are planted by `make test-long`."""


def planted() -> list[Any]:
    """The faults as parameters of a test."""
    return [pytest.param(fault, id=fault.__name__, marks=() if fault in SOON else pytest.mark.long) for fault in FAULTS]


def test_a_home_without_a_fault_passes(small: Small) -> None:
    evidence = small.looked_again()
    found = list(judgement.findings(evidence))
    assert found == []
    measured = resources.sample(small.settings, 0.0).figures
    assert {"connections", "catalog_rows_a_snapshot", "files_a_table"} <= set(measured)
    assert judgement.exit_status(found) == 0
    assert WRITTEN_TO[0] in [each.to for each in evidence.mails]
    assert [cause.name for _, cause in evidence.matched.pairs] == ["bad producer"]


@pytest.mark.parametrize("fault", planted())
def test_each_planted_fault_ends_the_soak_with_1(small: Small, fault: Callable[[Small], Planted]) -> None:
    planting = fault(small)
    found = list(judgement.findings(next(planting)))
    with pytest.raises(StopIteration):
        next(planting)  # undone
    assert FAULTS[fault] in {each.rule for each in found}, found
    assert judgement.exit_status(found) == 1
    if fault is not alarm_muted:  # a notice that did not arrive leaves its cause untold too
        assert {each.rule for each in found} <= {
            FAULTS[fault],
            "lines received",
            "resource grew",
            "alarm that was not noted",
        }

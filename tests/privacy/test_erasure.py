"""A forgotten person is in no byte of the home folder and of both servers, and nothing brings them back."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

import activations
from activations.gate import GateVerdict
from generators.erasure import AnswerKeys
from searchflow import erasure, lifecycle, maintenance, streams, warehouse
from searchflow.erasure import certificate
from searchflow.erasure.person import Person
from searchflow.erasure.terms import Terms
from searchflow.errors import ConfigurationError
from searchflow.ingestion import feeds, follow, tombstones, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ops import audit_log
from searchflow.publishing import publish as publish_marts
from searchflow.services import postgres
from searchflow.settings import Settings, load_settings
from searchflow.transformation import transform
from tests.conftest import running_platform
from tests.dashboards.showroom import validate
from tests.privacy.company import (
    EMAIL,
    HER_EVENTS,
    HERS,
    KIOSK,
    LETTERS,
    LONGER,
    MAYA,
    NAME,
    OMAR,
    OTHER_EVENTS,
    PROFILES,
    event,
    killed_in,
    lines,
    publish,
    rows,
    traces,
    uid,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),  # the fixtures make the whole company
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
TWICE = f'{{"user_id": "{MAYA}", "friends": ["{MAYA}", "\\u006d{MAYA[1:]}"], "note": "with {MAYA}, as always", '
"""The beginning of another person's document that names her in every way."""
SYNCS = ("crm_user_segments", "abandoned_search_emails", "recommendations")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Everything was stored, modelled, sent, tidied, changed again, logged; some of it still waits in the streams."""
    with running_platform() as settings:
        publish(settings, [*HER_EVENTS[:4], *OTHER_EVENTS], LETTERS)
        (settings.feeds_dir / "user_profiles_2026.csv").write_text(PROFILES)
        for kind in streams.EVENT_TYPES:
            worker.ingest_stream(settings, kind)
        feeds.ingest_feeds(settings, settings.feeds_dir, now=worker.utc_now())
        with warehouse.connect(settings) as lake:  # as an older release stored it: the last of two equal keys counted
            lake.execute(
                "UPDATE raw.search_events SET payload = replace(payload, '{\"event_id\"', ?) WHERE event_id = ?",
                [TWICE + '"event_id"', uid(23)],
            )
        maintenance.run(settings, now=worker.utc_now())  # some of it in files, the rest in the catalog
        publish(settings, HER_EVENTS[4:])
        worker.ingest_stream(settings, "search")
        transform(settings, now=worker.utc_now())
        with warehouse.connect(settings) as lake:
            validate(lake, "marts.dim_users", "pass", worker.utc_now().replace(tzinfo=None))
        publish_marts(settings, ["dim_users"], clock=worker.utc_now)
        assert MAYA in published(settings)
        for name in SYNCS:
            activations.run_sync(settings, name, now=worker.utc_now(), gate=lambda suite: GateVerdict(suite, "pass"))
        with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as ledger:
            ledger.execute("UPDATE activation.sent SET sent_at = sent_at; ANALYZE")  # old rows, and statistics
            left = [MAYA, f"{MAYA}:abandoned_search:2026-03-09", LONGER, OMAR]  # by a run that was killed
            ledger.execute("INSERT INTO activation.in_flight VALUES ('recommendations', 'killed', 0, %s)", [left])
        with psycopg.connect(postgres.conninfo(settings, "prefect")) as prefect:
            prefect.execute("CREATE TABLE log (message varchar, about jsonb)")
            prefect.execute("INSERT INTO log VALUES (%s, %s)", [f"no such user {MAYA}.", json.dumps({"user": [MAYA]})])
        settings.logs_dir.joinpath("flows.log").write_text(f"one line\nsent to {NAME} <{EMAIL}>\nlast line\n")
        quality = settings.reports_dir / "quality"
        quality.mkdir()
        (quality / "index.html").write_text(f"<p>{MAYA}</p><p>{LONGER}</p>")
        publish(settings, [HER_EVENTS[4], event("search", 30, 1, "web-late", OMAR)])  # waits: hers among others'
        yield settings


def published(settings: Settings) -> set[str]:
    with psycopg.connect(postgres.conninfo(settings, "bi")) as connection:
        return {user for (user,) in connection.execute("SELECT user_id FROM marts.dim_users").fetchall()}


@pytest.fixture(scope="module")
def forgotten(company: Settings) -> dict[str, Any]:
    """The certificate, of an erasure that was killed three times, beside a worker that goes on ingesting."""
    before = traces(company)
    kinds = {place.split("/")[0].split(" ")[0] for place in before}
    assert {"lake", "postgres", "valkey", "logs", "feeds", "reports", "sql", "key"} <= kinds  # the eyes are good
    assert any(place.startswith("postgres/pg_wal") for place in before)
    found = {finding.place for finding in erasure.look(company, MAYA, clock=worker.utc_now, more=[AnswerKeys()])}
    assert found == {"lake", "postgres", "streams", "files"}
    for step, delay in (
        ("list the person and delete raw rows", "0.2"),
        ("erase from postgres", "0.1"),
        ("rewrite files and expire snapshots", "0.05"),
    ):
        killed = killed_in(company, MAYA, step, delay)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    stop = threading.Event()
    following = threading.Thread(target=follow.follow_stream, args=(company, "search"), kwargs={"stop": stop})
    following.start()
    try:
        publish(company, [HER_EVENTS[1], event("search", 31, 1, "web-late", OMAR)])
        made = erasure.forget(company, MAYA, clock=worker.utc_now, more=[AnswerKeys()])
    finally:
        stop.set()
        following.join(30)
    return made


def test_no_byte_of_her_is_left(company: Settings, forgotten: dict[str, Any]) -> None:
    assert sorted(traces(company).items()) == []
    assert MAYA not in published(company)
    lifecycle.stop_all(company)  # servers write what they had in memory
    try:
        assert sorted(traces(company, servers=False).items()) == []
    finally:
        lifecycle.start(company)


def test_others_keep_what_is_theirs(company: Settings, forgotten: dict[str, Any]) -> None:
    transform(company, now=worker.utc_now())  # what came in beside the erasure
    with warehouse.connect(company, read_only=True) as lake:
        kept = lake.execute("SELECT event_id, payload FROM raw.search_events ORDER BY 1").fetchall()
        assert [event_id for event_id, _ in kept] == [uid(number) for number in (20, 23, 25, 30, 31)]
        assert json.loads(kept[2][1])["invited_by"] == "erased"
        pairs = json.loads(kept[1][1], object_pairs_hook=list)
        assert [value for key, value in pairs if key == "user_id"] == ["erased", LONGER]
        assert dict(pairs)["friends"] == ["erased", "erased"]
        assert dict(pairs)["note"] == "with erased, as always"
        assert lake.execute("SELECT user_id FROM marts.dim_users ORDER BY 1").fetchall() == [(LONGER,), (OMAR,)]
        funnel = lake.execute("SELECT sum(searches), sum(clicks) FROM marts.fct_search_funnel_daily").fetchone()
        assert funnel == (5, 2)
        sessions = lake.execute(
            "SELECT DISTINCT visitor_id FROM intermediate.int_search_sessions WHERE session_id = ?", [KIOSK]
        )
        assert sessions.fetchall() == [(OMAR,)]
        letters = lake.execute(
            "SELECT reason_code, status, octet_length(raw_payload) > 0 FROM raw.dead_letters"
        ).fetchall()
    assert sorted(letters) == [("erased_user", "discarded", False)] * 6 + [("missing_field", "open", True)]
    assert rows(company, "crm", "SELECT user_id FROM crm.user_segments ORDER BY 1") == [(LONGER,), (OMAR,)]
    keys = [key for (key,) in rows(company, "ledger", "SELECT key FROM activation.sent WHERE key LIKE 'maya%'")]
    assert len(keys) >= 2
    assert all(key.startswith(LONGER) for key in keys)
    assert rows(company, "ledger", "SELECT keys FROM activation.in_flight") == [([LONGER, OMAR],)]
    assert (company.reports_dir / "quality" / "index.html").read_text() == f"<p>*********</p><p>{LONGER}</p>"
    assert (company.logs_dir / "flows.log").read_text().splitlines()[::2] == ["one line", "last line"]
    assert (company.feeds_dir / "user_profiles_2026.csv").read_text().count("\n") == 3


def test_the_books_add_up_and_the_audit_log_is_whole(company: Settings, forgotten: dict[str, Any]) -> None:
    from expectations import Outcome, validate

    with warehouse.connect(company, read_only=True) as lake:
        totals = accounting(lake)
    assert totals.holds, totals
    assert totals.erased == 7  # six events and a profile
    report = validate(company, "ops.ingestion_batches", now=worker.utc_now(), build_report=False)
    books = {check.name: check.outcome for check in report.suites[0].checks}
    assert books["rows_are_there"] is books["identity_holds"] is Outcome.PASS
    audit_log.verify(company)
    assert forgotten["sha256"] in audit_log.show(company, action="erase")[0]["detail"]


def test_the_certificate_says_what_was_where_names_no_one_and_cannot_be_edited(
    company: Settings, forgotten: dict[str, Any]
) -> None:
    found = {(entry["place"], entry["what"]): entry["count"] for entry in forgotten["found"]}
    assert found["lake", "raw.search_events"] == 4
    assert found["lake", "raw.dead_letters"] == 4
    assert found["postgres", "crm.crm.user_segments"] == 1
    assert found["streams", "searchflow:email:outbox"] == 2  # of two days
    assert forgotten["identifiers"] == {
        "sessions": 1,
        "sessions shared with others": 1,
        "events": 6,
        "addresses": 1,
        "addresses that others have too": 0,
    }
    assert forgotten["done"]["snapshots expired"] > 10
    assert forgotten["left_to_others"] == []
    assert forgotten["subject"] == certificate.subject_of(company, MAYA)
    assert certificate.is_genuine(company, forgotten)
    assert not certificate.is_genuine(company, forgotten | {"found": []})
    assert not list((company.run_dir / "erasures").glob("*"))


def test_asking_again_gives_the_same_certificate_and_a_stranger_is_unknown(
    company: Settings, forgotten: dict[str, Any]
) -> None:
    assert erasure.forget(company, MAYA, clock=worker.utc_now) == forgotten
    for stranger in ("nobody-at-all", "regular", "CA"):  # plain words stand in many a text
        with pytest.raises(erasure.UnknownPerson):
            erasure.look(company, stranger, clock=worker.utc_now)


def test_neither_replay_nor_backfill_nor_a_broken_line_brings_her_back(
    company: Settings, forgotten: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "backfill.jsonl").write_bytes(b"\n".join([*lines([*HER_EVENTS, *OTHER_EVENTS]), *LETTERS]) + b"\n")
    (tmp_path / "user_profiles_again.csv").write_text(PROFILES + f"{OMAR},,,,2026-02-01T00:00:00Z,\n")
    worker.ingest_files(company, tmp_path)
    feeds.ingest_feeds(company, tmp_path, now=worker.utc_now())
    publish(company, HER_EVENTS, LETTERS)
    for kind in streams.EVENT_TYPES:
        worker.ingest_stream(company, kind)
    feeds.ingest_feeds(company, company.feeds_dir, now=worker.utc_now())  # the file that was rewritten is known
    with warehouse.connect(company, read_only=True) as lake:
        assert accounting(lake).holds
        profiles = lake.execute("SELECT user_id, count(*) FROM raw.user_profiles GROUP BY 1 ORDER BY 1").fetchall()
        back = lake.execute(
            "SELECT count(*), count(DISTINCT octet_length(raw_payload)) FROM raw.dead_letters "
            "WHERE reason_code = 'erased_user'"
        ).fetchone()
    assert profiles == [(LONGER, 2), (OMAR, 3)]  # with those of the other file
    assert back == (6 + 2 * (6 + 3) + 2 + 1, 1)  # and the event that mentions her, as its producer wrote it
    found = traces(company)
    assert {place for place in found if not place.startswith(("postgres/", "valkey/"))} == set()


def test_another_key_is_noticed_before_anybody_comes_back(company: Settings, forgotten: dict[str, Any]) -> None:
    other = load_settings(home=company.home, secret_key="another")
    with psycopg.connect(postgres.conninfo(company, "ledger")) as ledger:
        with pytest.raises(ConfigurationError, match="SEARCHFLOW_SECRET_KEY"):
            tombstones.Tombstones(other).refresh(ledger)
        assert tombstones.Tombstones(company).refresh(ledger).knows(tombstones.SESSION, HERS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("user u-1.", "u-1"),
        ('{"user_id":"u-1"}', "u-1"),
        ("u-1:abandoned_search:2026-05-01", "u-1"),
        ("<ZOE@example.org>", "ZOE@example.org"),
        ("u-12, u-1.b, au-1, u-1@x, x.zoe@example.org, zoe@example.org.au", ""),
        ("maria and 42", ""),
    ],
)
def test_an_identifier_is_a_whole_word(text: str, found: str) -> None:
    terms = Terms(Person("u-1", sessions=["maria", "42"], emails=["zoe@example.org"]))
    data = text.encode()
    assert b"".join(data[start:end] for start, end in terms.spans(data)) == found.encode()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"user_id": "u-1", "user_id": "u-12"}', '{"user_id": "erased", "user_id": "u-12"}'),
        ('{"user_id": "\\u0075-1", "q": "u-12"}', '{"user_id": "erased", "q": "u-12"}'),
        ('{"q": "from \\u0075-1 to u-1"}', '{"q": "erased"}'),
        ('["u-1:2026-05-01", "ZOE@example.org"]', '["erased:2026-05-01", "erased"]'),
        ('{"session_id" :  "maria", "name": "maria"}', '{"session_id" :  "erased", "name": "maria"}'),
    ],
)
def test_every_occurrence_is_cut_out_however_it_is_written(text: str, left: str) -> None:
    terms = Terms(Person("u-1", sessions=["maria"], emails=["zoe@example.org"]))
    assert terms.cut_out(text) == left
    assert terms.perhaps_in(pl.Series([text, left])).to_list()[0]
    assert not terms.named_in(left)


@pytest.mark.parametrize("text", ['"' + "\\u" * 30_000, '"\\' * 30_000, '"' * 60_000, '\\"' * 30_000])
def test_a_broken_document_takes_no_longer_than_its_length(text: str) -> None:
    terms, begun = Terms(Person("u-1")), time.process_time()
    assert terms.spans(text.encode()) == []
    assert time.process_time() - begun < 2


def test_a_plain_identifier_is_found_beside_its_fields_name() -> None:
    terms = Terms(Person("maria", sessions=["42"]))
    assert terms.found_in(b'{"user_id": "maria"}')
    assert terms.found_in(b'{"session_id":"42"}')
    assert not terms.found_in(b'{"name": "maria", "page": 42, "query": "42"}')

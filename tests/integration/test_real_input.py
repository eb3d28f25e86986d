"""Data that no generator of ours made goes all the way: files and a foreign producer, models, gates, syncs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from searchflow import services, streams
from tests import foreign
from tests.commands import CommandLine

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).replace(microsecond=0)


def moment(**ago: float) -> str:
    return (TODAY - timedelta(**ago)).isoformat()


def documents() -> list[dict[str, Any]]:
    """Ana books through an advertisement, Ben looks and leaves, an anonymous visitor logs in half-way, one finds nothing."""
    ad = {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "spring"}
    return [
        foreign.search(1, timestamp=moment(days=3, minutes=20), session_id="ana-1", user_id="ana", **ad, vendor={"x": [1]}),
        foreign.click(1, 1, timestamp=moment(days=3, minutes=18), session_id="ana-1", user_id="ana",
                      result_destination="Lisbon"),
        foreign.conversion(1, of=1, timestamp=moment(days=3, minutes=5), session_id="ana-1", user_id="ana"),
        foreign.search(2, timestamp=moment(hours=5), session_id="ben-1", user_id="ben", platform=None, geo=None),
        foreign.click(2, 2, timestamp=moment(hours=4.9), session_id="ben-1", user_id="ben", result_destination="Tokyo",
                      result_price=None),
        foreign.search(3, timestamp=moment(hours=8), session_id="x-1"),
        foreign.search(4, timestamp=moment(hours=7.9), session_id="x-1", user_id="cleo", query="flights to Rome"),
        foreign.search(5, timestamp=moment(hours=30), session_id="y-1", results_count=0, query="", user_id=None),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    from tests.conftest import temporary_home

    with temporary_home() as home:
        line = CommandLine(home)
        with line.warm():
            yield line


def test_foreign_files_and_streams_go_all_the_way_and_again_adds_nothing(cli: CommandLine, tmp_path: Path) -> None:
    events = documents()
    refused = [line for lines in foreign.refused().values() for line in lines]
    recent = foreign.search(913, timestamp=(TODAY + timedelta(days=1)).isoformat())
    refused += [foreign.line(**recent), foreign.line(**{**events[0], "query": "something else"})]
    refused = [
        line for line in refused if b'"timestamp": "2026-05-20T12:06:00' not in line
    ]  # the future of another clock
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*(foreign.line(**event) for event in events[:5]), *refused]))
    (tmp_path / "ad_spend.csv").write_text(
        "spend_date,utm_source,utm_campaign,currency,cost,impressions,clicks\n"
        f"{TODAY - timedelta(days=3):%Y-%m-%d},google,spring,CAD,100,1000,50\n"
    )
    (tmp_path / "user_profiles.jsonl").write_text(
        json.dumps({"user_id": "ben", "email": "ben@example.org", "name": "Ben", "marketing_consent": True,
                    "locale": "pt", "time_zone": "Europe/Lisbon", "updated_at": moment(days=9)}) + "\n"
    )  # fmt: skip
    loaded = cli.json("ingest", "--from", str(tmp_path))
    assert loaded["stored"] == 5 + 2
    assert loaded["dead_letters"] == len(refused)
    assert loaded["accounting"]["holds"]
    reasons = {group["reason_code"] for group in cli.json("dlq", "list")}
    assert reasons == {"conflicting_duplicate", *foreign.refused()}

    with streams.connect(cli.settings) as producer:  # a foreign producer: plain XADD, one entry an event
        for event in [*events[5:], events[0]]:
            producer.xadd(streams.EVENT_STREAMS[event["event_type"]], {"data": json.dumps(event)})
    drained = cli.json("ingest")
    assert (drained["received"], drained["stored"], drained["duplicates"]) == (4, 3, 1)

    cli.json("transform")
    outcomes = cli.json("validate")
    assert {suite: gate["outcome"] for suite, gate in outcomes.items() if gate["outcome"] in ("fail", "error")} == {}
    funnel = cli.json(
        "query",
        "SELECT query, user_id, channel, has_results, clicks, conversions FROM marts.fct_search_funnel ORDER BY searched_at",
    )
    assert [row["conversions"] for row in funnel] == [1, 0, 0, 0, 0]
    assert funnel[0]["channel"] == "paid_search"
    assert not funnel[1]["has_results"]

    sent = cli.json("activate")
    assert {name: sync["status"] for name, sync in sent.items() if sync["status"] not in ("done", "unchanged")} == {}
    with psycopg.connect(services.postgres_dsn(cli.settings, "crm")) as crm:
        rows = dict(crm.execute("SELECT user_id, segment FROM crm.user_segments").fetchall())
    assert set(rows) == {"ana", "ben", "cleo"}
    with streams.connect(cli.settings) as client:
        [(_, message)] = client.xrange("searchflow:email:outbox")
        assert json.loads(message[b"data"])["user_id"] == "ben"  # ana booked, cleo gave no consent
        assert client.exists("searchflow:reco:popular")

    assert cli.json("ingest")["received"] == 0
    assert cli.json("ingest", "--from", str(tmp_path))["received"] == 0
    cli.json("transform")
    again = cli.json("activate")
    assert {(sync["added"], sync["changed"], sync["removed"]) for sync in again.values()} == {(0, 0, 0)}
    assert cli.run("reconcile").returncode == 0

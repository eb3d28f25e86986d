"""Checks compare like with like: bookings between two passes close no gate, and a real fault closes it within one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations import load_suites, validate
from expectations.moments import tables_read
from searchflow import maintenance, warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import Settings
from searchflow.transformation import project, transform

FUNNEL = ("marts.fct_search_funnel_daily",)
"""What a follower makes every few seconds; all other marts are made once a minute."""
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def test_every_rule_names_other_marts_so_that_their_moment_can_be_chosen() -> None:
    texts = {
        f"{suite.name} {check.name}": f"{check.rule.arguments} {check.rule.broken}"
        for suite in load_suites()
        for check in suite.checks
    }
    made = ("lake.marts.", "lake.activation.", "lake.intermediate.")
    named = {name for name, text in texts.items() if any(schema in text for schema in made)}
    assert named == {"marts.mart_campaign_attribution journeys_match_events"}, (
        "journeys are held against events as both are now: an erasure takes from both in one commit"
    )
    staged = [name for name, text in texts.items() if "lake.staging." in text and "{known_until}" not in text]
    assert staged == [], "a view of what was received: only up to the moment of the mart"


def trip(number: int, booked_at: datetime) -> list[dict[str, Any]]:
    """A search, a click and a booking, a minute apart."""

    def event(place: int, kind: str, **more: Any) -> dict[str, Any]:
        when = booked_at - timedelta(minutes=2 - place)
        about = {"event_id": uid(number, place), "event_type": kind, "timestamp": when.isoformat()}
        return {**about, "session_id": f"s{number}", "user_id": f"user-{number}", **more}

    return [
        event(0, "search", query="hotels in Lisbon", results_count=20),
        event(
            1, "click", search_event_id=uid(number, 0), result_id="r1", result_position=1, result_destination="Lisbon"
        ),
        event(2, "conversion", click_event_id=uid(number, 1), booking_value=100.0),
    ]


def uid(number: int, place: int) -> str:
    return f"00000000-0000-4000-8000-{number:08d}{place:04d}"


class Company:
    """A home in which a user books between two passes of the follower."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder, self.now, self.bookings = settings, folder, NOON, 0

    def book(self) -> None:
        self.bookings += 1
        self.now += timedelta(seconds=20)
        path = self.folder / f"{self.bookings}.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in trip(self.bookings, self.now)))
        ingest_files(self.settings, path, clock=lambda: self.now)

    def make(self, *only: str) -> None:
        self.now += timedelta(seconds=1)
        transform(self.settings, now=self.now, only=only)

    def wrong(self) -> set[str]:
        """The critical checks of the marts and of what is sent that do not hold."""
        self.now += timedelta(seconds=1)
        names = [suite.name for group in ("marts", "activation") for suite in load_suites(group)]
        found = validate(self.settings, "all", only=names, now=self.now, build_report=False)
        crashed = [
            f"{suite.suite} {check.name} {check.observed}"
            for suite in found.suites
            for check in suite.checks
            if check.outcome == "error"
        ]
        assert crashed + [suite.message for suite in found.suites if suite.message] == []
        return {
            f"{suite.suite} {check.name}"
            for suite in found.suites
            for check in suite.checks
            if check.severity == "critical" and str(check.outcome) != "pass"
        }

    def change(self, sql: str, table: str) -> None:
        """Change the stored rows of a mart by hand."""
        with warehouse.connect(self.settings) as connection:
            connection.execute(sql.format(table=stored(connection, table)))


def stored(connection: Any, table: str) -> str:
    [(sql,)] = connection.execute(
        "SELECT sql FROM duckdb_views() WHERE schema_name || '.' || view_name = ?", [table]
    ).fetchall()
    [name] = tables_read(sql)
    return name


@pytest.fixture
def company(fresh_platform: Settings, tmp_path: Path) -> Iterator[Company]:
    yield Company(fresh_platform, tmp_path)
    project.forget(fresh_platform)


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]


@pytest.mark.integration
def test_bookings_between_two_passes_close_no_gate_and_a_real_fault_does(company: Company) -> None:
    company.book()
    company.make()
    company.book()
    company.make(*FUNNEL)
    company.book()  # received, in no model yet
    assert company.wrong() == set()

    # Each mart says up to when it was made, and the funnel was made later.
    with warehouse.connect(company.settings, read_only=True) as connection:
        found = connection.execute("SELECT model, known_until, lake_snapshot FROM ops.made_until").fetchall()
    made = {model: moment for model, *moment in found}
    assert made["marts.mart_kpi_daily"][0] == (NOON + timedelta(seconds=21)).replace(tzinfo=None)
    assert made["marts.fct_search_funnel"] > made["marts.mart_kpi_daily"] == made["marts.dim_users"]

    # A row deleted, a cent changed: told, although the funnel has newer bookings.
    company.change("DELETE FROM {table}", "marts.mart_destination_demand")
    company.change("UPDATE {table} SET clicks = clicks + 1, revenue = revenue + 0.01", "marts.mart_kpi_daily")
    company.change(
        "UPDATE {table} SET revenue = revenue + 0.01 WHERE model = 'linear'", "marts.mart_campaign_attribution"
    )
    assert company.wrong() == {
        "marts.mart_destination_demand adds_up_to_the_funnel",
        "marts.mart_kpi_daily agrees_with_the_funnel",
        "marts.mart_kpi_daily holds_each_booking",
        "marts.mart_campaign_attribution credits_equal_bookings",
    }
    company.make()  # all marts again, with what has come in
    assert company.wrong() == set()

    # In what a mart is made from: at once while that was not made again, else with the next pass.
    company.change("UPDATE {table} SET revenue = revenue + 0.01", "marts.fct_search_funnel")
    assert company.wrong() == {
        "marts.fct_search_funnel_daily adds_up_to_the_funnel",
        "marts.mart_destination_demand adds_up_to_the_funnel",
    }


@pytest.mark.integration
def test_maintenance_keeps_the_moment_of_each_mart_and_an_erasure_does_not(company: Company) -> None:
    company.book()
    company.make()
    company.book()
    company.make(*FUNNEL)
    with warehouse.connect(company.settings) as connection:
        kept = maintenance.in_use(connection)
        assert kept
        maintenance.expire(connection, datetime.now(UTC) + timedelta(days=1))
        there = {row[0] for row in connection.execute("SELECT snapshot_id FROM ducklake_snapshots('lake')").fetchall()}
        assert kept <= there
        assert len(there - kept) <= 1, "and the newest"
    assert company.wrong() == set()

    # A mart that a run left without a word, as one that was killed, was made when it was last written.
    company.book()
    company.make()
    with warehouse.connect(company.settings) as connection:
        newest = "(SELECT max(lake_snapshot) FROM ops.model_runs)"
        connection.execute(f"DELETE FROM ops.model_runs WHERE lake_snapshot = {newest}")
    company.book()
    company.make(*FUNNEL)
    assert {name for name in company.wrong() if "funnel" in name} == set()

    # Every older snapshot goes, as in an erasure: no check breaks on what is not there any more.
    with warehouse.connect(company.settings) as connection:
        connection.execute("CALL ducklake_expire_snapshots('lake', older_than => TIMESTAMPTZ '9999-01-01')")
    company.wrong()
    company.make()
    assert company.wrong() == set()

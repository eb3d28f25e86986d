"""Which state of another mart a check reads, on tables made by hand: as it is now, or as the checked mart was made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import duckdb
import pytest

from expectations import validate
from expectations.moments import Moments
from searchflow import maintenance, warehouse
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
Company = Callable[..., Settings]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
COMPARING = ("marts.fct_search_funnel_daily", "marts.mart_destination_demand", "marts.mart_kpi_daily")
FUNNEL = ("marts.fct_search_funnel", "marts.fct_search_funnel_daily")
BOOKED = """
    UPDATE marts.fct_search_funnel SET clicks = clicks + 1, conversions = conversions + 1, revenue = revenue + 50
    WHERE user_id = 'u-1';
    UPDATE marts.fct_search_funnel_daily SET clicks = clicks + 1, conversions = conversions + 1, revenue = revenue + 50
    WHERE clicks > 0;
"""
"""What the folbelow's pass over the funnel does with a booking that came in."""


def made(settings: Settings, *models: str, status: str = "succeeded") -> None:
    """A run of these models ends: as the runner records it."""
    with warehouse.connect(settings) as connection:
        snapshot = warehouse.current_snapshot(connection)
        connection.executemany(
            "INSERT INTO ops.model_runs (run_id, environment, model, started_at, status, known_until, lake_snapshot, due_at) "
            "VALUES ('r', 'prod', ?, '2026-03-02 11:00', ?, '2026-03-02 11:00', ?, '2026-03-02 11:05')",
            [[model, status, snapshot] for model in models],
        )


def change(settings: Settings, sql: str) -> None:
    with warehouse.connect(settings) as connection:
        connection.execute(sql)


def failing(settings: Settings) -> set[str]:
    found = validate(settings, "marts", only=COMPARING, now=NOW, build_report=False)
    return {
        f"{suite.suite.removeprefix('marts.')} {check.name}"
        for suite in found.suites
        for check in suite.checks
        if check.severity == "critical" and check.outcome != "pass"
    }


@pytest.fixture
def settings(company: Company) -> Iterator[Settings]:
    """The small company, whose marts were all made in one run."""
    touched = "; ".join(f"SELECT count(*) FROM {table}" for table in (*COMPARING, *FUNNEL))
    found = company(f"DELETE FROM ops.model_runs; {touched}")
    made(found, *COMPARING, *FUNNEL)
    yield found
    change(found, "DELETE FROM ops.model_runs")


def test_a_booking_between_two_passes_is_no_fault_and_a_changed_cent_is(settings: Settings) -> None:
    assert failing(settings) == set()
    change(settings, BOOKED)
    assert failing(settings) != set(), "by hand, in no pass: a fault"
    made(settings, *FUNNEL)
    assert failing(settings) == set(), "the other marts are compared with what they were made from"

    change(settings, "UPDATE marts.mart_destination_demand SET revenue = revenue + 0.01")
    change(settings, "DELETE FROM marts.mart_kpi_daily")
    assert failing(settings) == {
        "mart_destination_demand adds_up_to_the_funnel",
        "mart_kpi_daily agrees_with_the_funnel",
        "mart_kpi_daily holds_each_booking",
    }


def test_a_changed_cent_in_the_funnel_is_told_until_the_funnel_is_made_again_and_from_the_next_pass_on(
    settings: Settings,
) -> None:
    cent = "UPDATE marts.fct_search_funnel SET revenue = revenue + 0.01"
    told = {"fct_search_funnel_daily adds_up_to_the_funnel", "mart_destination_demand adds_up_to_the_funnel"}
    change(settings, cent)
    assert failing(settings) == told
    made(settings, *FUNNEL)
    assert "fct_search_funnel_daily adds_up_to_the_funnel" in failing(settings)
    made(settings, *COMPARING)
    assert failing(settings) == told


def test_a_mart_that_a_killed_run_wrote_is_compared_with_what_that_run_read(settings: Settings) -> None:
    change(settings, BOOKED)
    change(
        settings,
        "UPDATE marts.mart_destination_demand SET revenue = revenue + 50 WHERE revenue > 0; "
        "CREATE OR REPLACE TABLE marts.mart_kpi_daily AS FROM marts.mart_kpi_daily SELECT * REPLACE (clicks + 1 AS clicks)",
    )  # killed here: nothing is recorded
    change(settings, BOOKED)
    made(settings, *FUNNEL)
    assert failing(settings) - {"mart_kpi_daily holds_each_booking"} == set()


def test_a_run_that_failed_after_it_wrote_the_funnel_counts_too(settings: Settings) -> None:
    change(settings, BOOKED)
    made(settings, *FUNNEL, status="failed")
    assert failing(settings) == set()


def test_views_are_read_through_and_hold_no_moment_and_expired_snapshots_have_a_successor(
    company_home: Settings,
) -> None:
    with warehouse.connect(company_home) as connection:
        connection.execute("""
            CREATE SCHEMA IF NOT EXISTS stored; CREATE SCHEMA IF NOT EXISTS marts; CREATE SCHEMA IF NOT EXISTS activation;
            CREATE OR REPLACE TABLE stored.above AS SELECT 1 AS x;
            CREATE OR REPLACE VIEW marts.above AS SELECT * FROM lake.stored.above;
            CREATE OR REPLACE TABLE stored.below AS SELECT 1 AS x;
            CREATE OR REPLACE VIEW marts.below AS SELECT * FROM lake.stored.below;
            CREATE OR REPLACE VIEW stored.joined AS SELECT above.x FROM lake.marts.above JOIN lake.marts.below USING (x);
            CREATE OR REPLACE VIEW activation.joined AS SELECT * FROM lake.stored.joined;""")
        try:
            at = warehouse.current_snapshot(connection)
            made(company_home, "marts.above", "marts.below", "activation.joined")
            connection.execute("INSERT INTO stored.above VALUES (2)")
            assert source(connection, "marts.below") == "lake.marts.above"
            made(company_home, "marts.above")
            assert source(connection, "activation.joined") == "lake.marts.above"
            assert at in maintenance.in_use(connection)
            assert source(connection, "marts.below") == f"(FROM lake.marts.above AT (VERSION => {at}))"
            assert connection.execute(f"FROM {source(connection, 'marts.below')}").fetchall() == [(1,)]

            maintenance.expire(connection, datetime.now(UTC).replace(year=2099))
            assert connection.execute(f"FROM {source(connection, 'marts.below')}").fetchall() == [(1,)], "kept"
            connection.execute("CALL ducklake_expire_snapshots('lake', older_than => TIMESTAMPTZ '9999-01-01')")
            assert connection.execute(f"FROM {source(connection, 'marts.below')}").fetchall() == [(1,), (2,)]
        finally:
            connection.execute("DELETE FROM ops.model_runs; DROP VIEW marts.above; DROP VIEW marts.below")
            connection.execute("DROP VIEW activation.joined; DROP SCHEMA stored CASCADE")


def source(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """What a rule of `table` reads where it says {marts.above}."""
    moments = Moments(connection, warehouse.current_snapshot(connection), {})
    return moments.fill(table)("{marts.above}")

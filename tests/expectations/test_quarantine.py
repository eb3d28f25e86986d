"""Rows that break a critical check are listed completely, left out of what is sent, and counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from expectations import Outcome, load_suites, validate
from expectations.results import SuiteResult
from searchflow import gates, warehouse
from searchflow.settings import Settings
from tests.expectations.small_company import NOW

pytestmark = pytest.mark.integration
Company = Callable[..., Settings]

USERS = """
INSERT INTO marts.mart_user_segments BY NAME
SELECT 'u-' || number AS user_id, CASE WHEN number % 40 = 0 THEN 'vip' ELSE 'regular' END AS segment,
  0 AS lifetime_revenue, 0 AS conversions, '2026-03-01' AS first_seen_at, '2026-03-01' AS last_seen_at,
  '2026-03-02 12:00' AS segment_as_of FROM range(2, 20002) AS numbers (number)
"""


def checked(settings: Settings, suite: str) -> SuiteResult:
    return validate(settings, suite, now=NOW, build_report=False).suites[0]


def quarantined(settings: Settings) -> list[tuple[str, list[str]]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute("SELECT key, expectations FROM ops.quarantined_rows ORDER BY key").fetchall()


def test_every_broken_row_is_listed_by_key_without_a_cap(company: Company) -> None:
    result = checked(company("DELETE FROM ops.quarantined_rows;" + USERS), "marts.mart_user_segments")
    outcomes = {check.name: check.outcome for check in result.checks}
    assert outcomes["one_of:segment"] is Outcome.QUARANTINE
    assert outcomes["covers_all_users"] is Outcome.FAIL  # about the table: no rows to name
    found = quarantined(company())
    assert len(found) == 500  # Great Expectations itself would give 200
    assert found[0] == ('{"user_id":"u-1000"}', ["one_of:segment"])
    assert result.rows is not None
    assert (result.rows.rows_in, result.rows.passed, result.rows.quarantined) == (20_001, 19_501, 500)


def test_a_row_may_break_several_checks_and_is_counted_once(company: Company) -> None:
    settings = company(
        USERS.replace("'vip'", "'regular'")
        + "; UPDATE marts.mart_user_segments SET segment = NULL, segment_as_of = '2030-01-01' WHERE user_id = 'u-7';"
        "INSERT INTO marts.mart_user_segments SELECT * FROM marts.mart_user_segments WHERE user_id IN ('u-8', 'u-9');"
        "DELETE FROM ops.quarantined_rows"
    )
    result = checked(settings, "marts.mart_user_segments")
    assert quarantined(settings) == [
        ('{"user_id":"u-7"}', ["not_null:segment", "not_ahead:segment_as_of"]),
        *[(f'{{"user_id":"u-{number}"}}', ["unique:user_id"]) for number in (8, 8, 9, 9)],
    ]
    assert result.rows is not None
    assert result.rows.rows_in == result.rows.passed + result.rows.quarantined == 20_003


def test_when_most_rows_are_broken_it_is_the_table_that_failed(company: Company) -> None:
    settings = company(USERS + "; UPDATE marts.mart_user_segments SET segment = 'vip' WHERE user_id LIKE 'u-1%'")
    result = checked(settings, "marts.mart_user_segments")
    assert {check.name: check.outcome for check in result.checks}["one_of:segment"] is Outcome.FAIL


def test_a_broken_event_is_listed_and_closes_the_gate_because_sums_hold_it(company: Company) -> None:
    settings = company(
        "DELETE FROM ops.quarantined_rows;"
        "INSERT INTO raw.search_events SELECT * REPLACE ('' AS session_id, uuid()::VARCHAR AS event_id) "
        "FROM raw.search_events WHERE session_id = 's-1'"
    )
    result = checked(settings, "raw.search_events")
    assert result.outcome is Outcome.FAIL
    assert [broken for _, broken in quarantined(settings)] == [["session_is_known"]]


def test_what_is_quarantined_can_be_left_out_by_every_sync_that_depends_on_it() -> None:
    import activations

    for suite in load_suites():
        for name in gates.syncs_behind(suite.name) if suite.contained else ():
            fields = {field.source for field in activations.load_sync(name).fields}
            assert fields & set(suite.key), (suite.name, name)

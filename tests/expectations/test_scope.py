"""Which rows a run looks at: only the days that changed, where that is enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from expectations import Outcome, validate
from expectations.results import SuiteResult
from searchflow.settings import Settings
from tests.expectations.small_company import NOW

pytestmark = pytest.mark.integration
Company = Callable[..., Settings]
SUITE = "raw.search_events"
BOOKED = """
INSERT INTO raw.search_events SELECT * REPLACE ({} AS event_id, {} AS session_id, event_ts - INTERVAL 1 DAY AS event_ts)
FROM raw.search_events WHERE session_id = 's-1';
INSERT INTO ops.ingestion_batches (batch_id, shard, committed_at, received, stored, touched_days)
VALUES ('b-9', 'search', '2026-03-02 12:05', 1, 1, ['2026-03-01'::DATE])
"""
NEW, OLD, KNOWN, EMPTY = "uuid()::VARCHAR", "event_id", "session_id", "''"


def run(settings: Settings, minutes: int = 0, **options: bool) -> SuiteResult:
    [suite] = validate(settings, SUITE, now=NOW + timedelta(minutes=minutes), build_report=False, **options).suites
    return suite


def broken(result: SuiteResult) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in result.checks if check.outcome is not Outcome.PASS}


@pytest.mark.parametrize(
    ("identifier", "session", "wrong"),
    [
        (NEW, KNOWN, {}),
        (NEW, EMPTY, {"session_is_known": Outcome.FAIL}),
        (OLD, KNOWN, {"unique:event_id": Outcome.FAIL}),  # its twin lies on a day that is not looked at
    ],
)
def test_after_a_whole_run_only_the_changed_days_are_looked_at(
    company: Company, identifier: str, session: str, wrong: dict[str, Outcome]
) -> None:
    first = run(company())
    assert (first.scope, broken(first)) == ("all rows", {})
    settings = company(BOOKED.format(identifier, session))
    second = run(settings, 10)
    assert second.scope == "1 changed day"
    assert broken(second) == wrong
    assert len(second.checks) == len(first.checks)
    assert second.rows is not None
    assert second.rows.rows_in == 4
    if wrong:
        assert run(settings, 15).scope == "all rows"  # until it is in order again


def test_what_no_user_booked_is_found_by_a_full_run(company: Company) -> None:
    run(company())
    settings = company("UPDATE raw.search_events SET session_id = '' WHERE session_id = 's-1'")
    assert broken(run(settings, 20)) == {}
    assert broken(run(settings, 21, full=True)) == {"session_is_known": Outcome.FAIL}


def test_the_first_run_of_a_day_looks_at_all_rows(company: Company) -> None:
    settings = company()
    run(settings)
    assert run(settings, 5).scope == "0 changed days"
    assert run(settings, 13 * 60).scope == "all rows"

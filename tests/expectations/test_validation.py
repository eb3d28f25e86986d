from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from expectations import Outcome, SuiteResult, history, validate
from searchflow import warehouse
from searchflow.errors import GateFailed
from searchflow.settings import Settings
from tests.expectations.small_company import NOW

pytestmark = pytest.mark.integration
Company = Callable[..., Settings]


def checked(settings: Settings, suite: str) -> SuiteResult:
    """The result of one suite, without the report."""
    return validate(settings, suite, now=NOW, build_report=False).suites[0]


def broken(result: SuiteResult) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in result.checks if check.outcome is not Outcome.PASS}


def test_a_small_company_passes_every_gate(company: Company) -> None:
    seen = []
    report = validate(company(), now=NOW, build_report=False, on_progress=lambda *step: seen.append(step))
    assert [line for suite in report.suites for line in suite.problems()] == []
    assert report.outcome is Outcome.PASS
    assert report.blocked_syncs == set()
    report.gate()
    assert seen[-1] == ("activation.act_recommendations", len(report.suites), len(report.suites))


def test_old_data_of_another_user_only_warns(company: Company) -> None:
    settings = company(
        """
        DELETE FROM raw.click_events; DELETE FROM raw.conversion_events; DELETE FROM raw.user_profiles;
        DELETE FROM raw.ad_spend; DELETE FROM ops.ingestion_batches WHERE batch_id <> 'b-1';
        UPDATE raw.search_events SET event_ts = event_ts - INTERVAL 3 YEAR
        """
    )
    report = validate(settings, "raw", now=NOW, build_report=False)
    wrong = {suite.suite: broken(suite) for suite in report.suites if broken(suite)}
    assert wrong == {"raw.search_events": {"fresh:event_ts": Outcome.WARN}}
    report.gate()


def test_a_search_that_is_stored_twice_closes_the_gate_and_is_named(company: Company) -> None:
    report = validate(company("INSERT INTO raw.search_events SELECT * FROM raw.search_events LIMIT 1"), "raw", now=NOW)
    results = {suite.suite: suite for suite in report.suites}
    assert broken(results["raw.search_events"]) == {"unique:event_id": Outcome.FAIL}
    assert broken(results["ops.ingestion_batches"]) == {"rows_are_there": Outcome.FAIL}
    assert report.blocked_syncs == {"crm_user_segments", "abandoned_search_emails", "recommendations"}
    with pytest.raises(GateFailed, match=r"raw.search_events: “None of the searches is stored twice.”") as raised:
        report.gate()
    assert "\n" not in str(raised.value)


def test_a_platform_that_the_contract_does_not_name_warns_with_its_count_and_not_its_name(company: Company) -> None:
    result = checked(
        company("UPDATE raw.search_events SET payload = '{\"platform\": \"smart_fridge\"}' WHERE session_id = 's-2'"),
        "raw.search_events",
    )
    assert result.outcome is Outcome.WARN
    assert result.failed == 0
    assert result.problems() == [
        "warn: Searches come from platforms and kinds of devices that we know. (2 affected, platform 2, device type 0)"
    ]


def test_a_click_without_its_search_warns_because_it_may_be_late(company: Company) -> None:
    settings = company("DELETE FROM raw.search_events WHERE session_id = 's-1'")
    assert broken(checked(settings, "raw.click_events")) == {"search_has_arrived": Outcome.WARN}


def test_books_that_do_not_balance_close_the_gate(company: Company) -> None:
    settings = company("UPDATE ops.ingestion_batches SET duplicates = 20 WHERE batch_id = 'b-1'")
    assert broken(checked(settings, "ops.ingestion_batches")) == {"identity_holds": Outcome.FAIL}


@pytest.mark.parametrize(
    ("suite", "sql", "check"),
    [
        (
            "marts.fct_search_funnel",
            "UPDATE marts.fct_search_funnel SET conversions = 1 WHERE clicks = 0",
            "booked_after_click",
        ),
        (
            "marts.fct_search_funnel_daily",
            "UPDATE marts.fct_search_funnel_daily SET revenue = revenue - 0.01 WHERE revenue > 0",
            "adds_up_to_the_funnel",
        ),
        (
            "marts.mart_campaign_attribution",
            "UPDATE marts.mart_campaign_attribution SET revenue = revenue + 0.01 WHERE model = 'linear'",
            "credits_equal_bookings",
        ),
        (
            "marts.mart_campaign_attribution",
            "UPDATE intermediate.int_user_journeys SET user_id = 'u-2'",
            "journeys_match_events",
        ),
        (
            "marts.mart_campaign_attribution",
            "UPDATE intermediate.int_user_journeys SET touchpoint_id = 's-9:20260301T090000'",
            "journeys_match_events",
        ),
        ("marts.mart_campaign_attribution", "DELETE FROM intermediate.int_user_journeys", "journeys_match_events"),
        ("marts.mart_user_segments", "DELETE FROM marts.mart_user_segments", "covers_all_users"),
        (
            "marts.mart_user_segments",
            "UPDATE marts.mart_user_segments SET segment = 'vip'",
            "one_of:segment",
        ),
        ("marts.mart_user_segments", "UPDATE marts.mart_user_segments SET user_id = NULL", "not_null:user_id"),
        (
            "activation.act_crm_user_segments",
            "ALTER TABLE activation.act_crm_user_segments ADD COLUMN email VARCHAR",
            "has_exactly_columns",
        ),
    ],
)
def test_what_must_agree_and_does_not_fails(company: Company, suite: str, sql: str, check: str) -> None:
    result = checked(company(sql), suite)
    assert result.outcome is Outcome.FAIL
    assert broken(result)[check] is Outcome.FAIL


def test_a_message_to_a_user_who_did_not_agree_blocks_that_sync_only(company: Company) -> None:
    settings = company(
        """
        UPDATE marts.dim_users SET marketing_consent = NULL;
        INSERT INTO activation.act_abandoned_search_emails VALUES
          ('u-1:abandoned_search:2026-03-02', 'u-1', 'not an address', 'Zoé Martin', 'fr-CA', 'America/Toronto', 'x',
           NULL, '2026-03-02 09:00')
        """
    )
    report = validate(settings, "activation", now=NOW, build_report=False)
    wrong = {suite.suite: broken(suite) for suite in report.suites if broken(suite)}
    assert wrong == {
        "activation.act_abandoned_search_emails": {"only_with_consent": Outcome.FAIL, "matches:email": Outcome.WARN}
    }
    assert report.blocked_syncs == {"abandoned_search_emails"}
    report.gate("crm_user_segments")
    with pytest.raises(GateFailed, match=r"^abandoned_search_emails is blocked: "):
        report.gate("abandoned_search_emails")


def test_a_check_that_crashes_is_an_error_and_not_a_failure(company: Company) -> None:
    result = checked(company("DROP TABLE marts.dim_users"), "marts.mart_user_segments")
    assert result.outcome is Outcome.ERROR
    assert broken(result) == {"covers_all_users": Outcome.ERROR}
    assert (result.failed, result.errors) == (1, 1)
    assert "dim_users does not exist" in result.problems()[0]


def test_a_table_that_is_not_there_yet_is_said_in_one_line(company: Company) -> None:
    report = validate(company("DROP TABLE marts.mart_kpi_daily"), "marts.mart_kpi_daily", now=NOW, build_report=False)
    (result,) = report.suites
    assert result.outcome is Outcome.ERROR
    assert result.problems() == [
        "The table marts.mart_kpi_daily does not exist yet. Run `searchflow transform`, then validate again"
    ]
    with pytest.raises(GateFailed, match=r"marts.mart_kpi_daily does not exist yet"):
        report.gate()


@pytest.mark.parametrize(("yesterday", "usual"), [(90, True), (45, False), (160, False), (0, False)])
def test_a_day_is_compared_with_the_same_weekday_of_the_weeks_before(
    company: Company, yesterday: int, usual: bool
) -> None:
    """Sundays of 98 to 105 clicks, one of 5 (an outage), and quiet Saturdays."""
    settings = company(f"""
        INSERT INTO raw.click_events SELECT clicks.* REPLACE (uuid()::VARCHAR AS event_id, day AS event_ts)
        FROM raw.click_events AS clicks, (
          SELECT DATE '2026-03-01' - 7 * week::INT AS day,
            CASE week WHEN 0 THEN {yesterday} WHEN 3 THEN 5 ELSE 97 + week END AS n
          FROM range(9) AS weeks (week)
          UNION ALL SELECT DATE '2026-02-28' - 7 * week::INT, 10 FROM range(8) AS weeks (week)
        ), range(200) AS numbers (number) WHERE number < n
    """)
    outcome = broken(checked(settings, "raw.click_events")).get("usual_volume:event_ts")
    assert outcome is (None if usual else Outcome.WARN)


def test_a_table_that_lost_a_fifth_of_its_rows_warns(company: Company) -> None:
    more = (
        "INSERT INTO marts.mart_recommendations SELECT 'u-1', 'Rome ' || n, 1.0, n + 1 FROM range({}) AS numbers (n);"
    )
    settings = company(more.format(99))
    for minute in range(5):
        validate(settings, "marts.mart_recommendations", now=NOW + timedelta(minutes=minute), build_report=False)
    settings = company(more.format(70))
    report = validate(settings, "marts.mart_recommendations", now=NOW + timedelta(minutes=9), build_report=False)
    assert report.suites[0].problems() == [
        "warn: There are about as many recommendations as in the runs before. (rows 71, usual 100.0)"
    ]


def test_every_run_is_recorded_and_can_be_repeated(company: Company) -> None:
    settings = company()
    first = validate(settings, "marts.dim_users", now=NOW, build_report=False)
    second = validate(settings, "marts.dim_users", now=NOW, build_report=False)
    assert first.counts() == second.counts() == {"marts.dim_users": {"passed": 14, "failed": 0, "warned": 0}}
    with warehouse.connect(settings, read_only=True) as connection:
        rows = connection.execute(
            "SELECT run_id, suite, count(*), count(DISTINCT expectation), max(checked_at), list(DISTINCT outcome) "
            "FROM ops.validation_results GROUP BY ALL ORDER BY run_id"
        ).fetchall()
    stamp = NOW.replace(tzinfo=None)
    assert rows == [(run.run_id, "marts.dim_users", 14, 14, stamp, ["pass"]) for run in (first, second)]


def test_files_of_old_runs_are_removed_but_each_tables_newest_result_stays(company: Company) -> None:
    settings = company()
    validate(settings, "marts.mart_recommendations", now=NOW - timedelta(days=9), build_report=False)
    validate(settings, "marts.dim_users", now=NOW - timedelta(days=8), build_report=False)
    newest = validate(settings, "marts.dim_users", now=NOW, build_report=False)
    history.prune(settings, keep_runs=1)
    runs = history.newest(settings)
    assert sorted(path.name for path in history.folder(settings).iterdir()) == sorted(
        {path.parent.name for path in runs.values()}
    )
    assert runs["marts.dim_users"].parent.name == newest.run_id
    assert set(runs) == {"marts.dim_users", "marts.mart_recommendations"}


def test_a_mart_that_stays_behind_what_was_received_warns(company: Company) -> None:
    settings = company(
        "INSERT INTO raw.search_events SELECT * REPLACE ('n' || event_id AS event_id, event_ts + INTERVAL 2 DAY AS event_ts) "
        "FROM raw.search_events"
    )
    assert broken(checked(settings, "marts.mart_kpi_daily")) == {"keeps_up:kpi_date": Outcome.WARN}


def test_a_reminder_for_an_unknown_user_goes_to_quarantine_and_the_others_are_sent(company: Company) -> None:
    row = "'11111111-0000-4000-8000-000000000002', '2026-03-02 10:00', '', 'Tokyo', '2026-03-02', 2, TRUE"
    settings = company(f"INSERT INTO marts.mart_abandoned_searches VALUES ('u-1', {row}), ('u-9', {row})")
    result = checked(settings, "marts.mart_abandoned_searches")
    assert broken(result) == {"refers:user_id": Outcome.QUARANTINE}
    assert result.rows is not None
    assert (result.rows.rows_in, result.rows.passed, result.rows.quarantined) == (2, 1, 1)

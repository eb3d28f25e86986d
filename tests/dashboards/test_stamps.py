"""What a tile says about how far to trust it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from dashboards.queries.trust import SuiteOutcome
from dashboards.stamps import Trust

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC).replace(tzinfo=None)  # as the warehouse has its moments
KPI, FUNNEL = "marts.mart_kpi_daily", "marts.fct_search_funnel_daily"


def outcome(suite: str, *, failed: int = 0, warned: int = 0, crashed: int = 0) -> SuiteOutcome:
    return SuiteOutcome(suite, NOW - timedelta(minutes=3), 5, warned, failed, crashed, "why")


def trust(*outcomes: SuiteOutcome, **more: object) -> Trust:
    facts: dict[str, object] = {"made": {KPI: NOW - timedelta(minutes=6)}, "held": {}, "letters": 2}
    facts |= {"last_day": date(2026, 3, 31), "finality": 0.98}
    return Trust(NOW, list(outcomes), **(facts | more))  # type: ignore[arg-type]


def test_it_says_when_how_final_checked_in_quarantine_and_when_next() -> None:
    stamp = trust(outcome(KPI), next_refresh=NOW + timedelta(minutes=4)).stamp(KPI)
    assert stamp.line == "✓ as of 11:54 UTC · 31 Mar 98.0% in · 0 in quarantine · next 12:04"
    assert stamp.short == "✓ as of 11:54 UTC · 98.0% in"
    for words in (
        "6 minutes ago",
        "98.0% of the events expected",
        "5 checks 3 minutes ago",
        "2 open dead letters",
        "1 Apr 2026, 12:04",
    ):
        assert words in stamp.details
    assert not stamp.failed


def test_without_a_schedule_it_says_so() -> None:
    stamp = trust(outcome(KPI)).stamp(KPI)
    assert "next" not in stamp.line
    assert "no schedule is running" in stamp.details


def test_a_failed_gate_is_on_the_tile_in_words() -> None:
    for broken in (outcome(KPI, failed=1), outcome(KPI, crashed=1)):
        stamp = trust(broken).stamp(KPI)
        assert stamp.failed
        assert "✕ gate failed" in stamp.line
        assert "this number may be wrong" in stamp.details


def test_a_gate_that_failed_for_what_the_table_is_made_from_is_told_too() -> None:
    stamp = trust(outcome(KPI), outcome("raw.search_events", failed=1)).stamp(KPI)
    assert "✕ a gate before it failed" in stamp.line
    assert "raw\\.search\\_events" in stamp.details
    assert not trust(outcome(KPI), outcome("marts.dim_users", failed=1)).stamp(KPI).failed  # made from nothing of it


def test_warnings_and_missing_checks_have_marks_of_their_own() -> None:
    assert trust(outcome(KPI, warned=1)).stamp(KPI).line.startswith("! warnings")
    assert trust().stamp(KPI).line.startswith("? not checked")
    assert trust().stamp("ops.stage_runs").line == "read live"


def test_rows_in_quarantine_are_counted_over_the_tables_of_the_tile() -> None:
    stamp = trust(outcome(KPI), held={KPI: 3, FUNNEL: 1200}).stamp(KPI, FUNNEL)
    assert "1,203 in quarantine" in stamp.line


def test_the_oldest_table_says_how_old_the_tile_is() -> None:
    stamp = trust(outcome(KPI), made={KPI: NOW, FUNNEL: NOW - timedelta(days=2)}).stamp(KPI, FUNNEL)
    assert "as of 30 Mar 2026, 12:00 UTC" in stamp.line

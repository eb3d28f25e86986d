"""What each model promises: described and typed columns, audits that can fail and do block, unit tests; exemptions by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import pytest
import yaml

from searchflow.settings import ROOT
from searchflow.transformation import bare
from tests.models_truth.histories import FIRST, LAST, NOW, Event
from tests.models_truth.support import store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

WITHOUT_UNIT_TEST = {"seeds.fx_rates"}
"""A seed has no query to test; its audits check what the file says."""
REPORTING = {
    ("history_ends_in_the_current_segment", "marts.mart_user_segment_history"),
    ("accepted_range", "marts.mart_recommendations"),
    ("assert_known", "staging.stg_conversion_events"),
    ("assert_recently_never", "staging.stg_click_events"),
    ("assert_recently_never", "staging.stg_conversion_events"),
    ("assert_recently_never", "staging.stg_search_events"),
    ("assert_not_negative", "staging.stg_click_events"),
    ("assert_not_negative", "staging.stg_search_events"),
    ("not_null", "staging.stg_ad_spend"),
}
"""Audits that warn instead of stopping: their reason stands beside them, or the contract allows the value."""


@pytest.fixture(scope="module")
def models() -> bare.BareModels:
    return bare.BareModels()


def test_every_column_is_described_and_typed_and_every_model_has_a_grain(models: bare.BareModels) -> None:
    for model in models.models:
        columns = model.columns_to_types or {}
        assert columns, model.name
        assert set(columns) == set(model.column_descriptions), model.name
        assert all(len(text) > 2 for text in model.column_descriptions.values()), model.name
        assert not [name for name, kind in columns.items() if kind.sql() in ("UNKNOWN", "NULL", "")], model.name
        assert model.grains, model.name
        assert model.description, model.name


def test_every_time_column_is_a_date(models: bare.BareModels) -> None:
    """SQLMesh makes whole days of those, and cuts timestamps at the run's end or at the tick before it."""
    kinds = {
        model.name: model.columns_to_types[model.time_column.column.name].sql()
        for model in models.models
        if model.time_column
    }
    assert set(kinds.values()) == {"DATE"}, kinds


def test_every_model_has_audits_and_unit_tests_and_no_rule_is_ignored_silently(models: bare.BareModels) -> None:
    tested = {
        case["model"]
        for path in (ROOT / "tests" / "models").glob("test_*.yaml")
        for case in yaml.safe_load(path.read_text()).values()
    }
    assert {model.name for model in models.models if not model.audits} == set()
    assert {model.name for model in models.models} - tested == WITHOUT_UNIT_TEST
    assert {model.name for model in models.models if model.ignored_rules} == WITHOUT_UNIT_TEST
    warning = {
        (name, model.name)
        for model in models.models
        for name, arguments in model.audits
        if "blocking" in arguments and arguments["blocking"].sql() == "FALSE"
    }
    assert warning == REPORTING


@pytest.fixture
def lake(models: bare.BareModels) -> Iterator[duckdb.DuckDBPyConnection]:
    with bare.warehouse() as connection:
        store(connection, visits(), "all", NOW)
        models.make(connection, FIRST, LAST, NOW)
        yield connection


def visits() -> list[Event]:
    """Ana finds Lisbon by an ad, books it for 99.99 the next day and comes back; Ben books without a search."""

    def event(number: int, kind: str, when: str, user: str, **fields: Any) -> Event:
        about = {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_type": kind,
            "session_id": f"{user}-{when[:10]}",
        }
        document = {**about, "timestamp": f"{when}+00:00", "user_id": user, **fields}
        return Event(json.dumps(document), datetime.fromisoformat(when))

    ids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(9)]
    ad = {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "brand"}
    return [
        event(1, "search", "2026-04-01T10:00:00", "ana", query="lisbon", results_count=20, **ad),
        event(2, "click", "2026-04-01T10:01:00", "ana", search_event_id=ids[1], result_id="r", result_position=2,
              result_destination="Lisbon"),
        event(3, "search", "2026-04-02T10:00:00", "ana", query="lisbon", results_count=20),
        event(4, "click", "2026-04-02T10:01:00", "ana", search_event_id=ids[3], result_id="r", result_position=1,
              result_destination="Lisbon"),
        event(5, "conversion", "2026-04-02T10:05:00", "ana", click_event_id=ids[4], booking_value=99.99),
        event(6, "conversion", "2026-04-03T10:05:00", "ben", click_event_id=ids[8], booking_value=10),
    ]  # fmt: skip


SPOILT = {
    "credits_sum_to_booked_revenue": [
        ("marts.mart_campaign_attribution", "UPDATE {} SET revenue = revenue - 0.01 WHERE model = 'linear' AND revenue > 9"),
        ("marts.mart_campaign_attribution", "DELETE FROM {} WHERE model = 'markov'"),
        ("marts.mart_campaign_attribution", "DELETE FROM {}"),
    ],
    "each_booking_has_its_journey": [
        ("intermediate.int_user_journeys", "DELETE FROM {} WHERE user_id = 'ana'"),
        ("intermediate.int_user_journeys", "UPDATE {} SET position = 2"),
    ],
    "each_booking_is_in_the_key_figures": [
        ("marts.mart_kpi_daily", "DELETE FROM {} WHERE conversions > 0"),
        ("marts.mart_kpi_daily", "UPDATE {} SET conversions = conversions + 1"),
    ],
    "cost_is_the_spend_of_each_model": [
        ("marts.mart_campaign_attribution", "UPDATE {} SET cost = cost + 1 WHERE model = 'linear'"),
    ],
    "segments_cover_all_users": [
        ("marts.mart_user_segments", "DELETE FROM {} WHERE user_id = 'ana'"),
        ("marts.mart_user_segments", "UPDATE {} SET user_id = 'nobody' WHERE user_id = 'ana'"),
    ],
    "history_has_no_gaps": [
        ("marts.mart_user_segment_history", "UPDATE {} SET valid_to = valid_to - INTERVAL 1 SECOND WHERE valid_to IS NOT NULL"),
    ],
    "expected_clicks_are_clicks": [
        ("marts.mart_position_corrected_clicks", "UPDATE {} SET expected_clicks = expected_clicks * 1.01"),
    ],
    "only_with_consent": [
        ("activation.act_abandoned_search_emails", "{}"),
    ],
}  # fmt: skip


def test_the_audits_of_ours_pass_and_stop_a_table_that_breaks_their_promise(
    lake: duckdb.DuckDBPyConnection, models: bare.BareModels
) -> None:
    for name, cases in SPOILT.items():
        for table, spoil in cases:
            assert broken(lake, models, table, name) == 0, name
            if table.startswith("activation."):  # a view: a user who never agreed gets into it
                lake.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT 'ana' AS user_id")
                assert broken(lake, models, table, name) > 0, name
                continue
            lake.execute("BEGIN")
            lake.execute(spoil.format(table))
            assert broken(lake, models, table, name) > 0, (name, spoil)
            lake.execute("ROLLBACK")


def broken(lake: duckdb.DuckDBPyConnection, models: bare.BareModels, table: str, audit: str) -> int:
    """How many rows break an audit of a table."""
    model = next(model for model in models.models if model.name == table)
    [(found, arguments)] = [(each, given) for each, given in model.audits_with_args if each.name == audit]
    assert found.blocking
    query = model.render_audit_query(found, start=FIRST, end=LAST, execution_time=str(NOW), **arguments)
    return len(lake.execute(query.sql(dialect="duckdb")).fetchall())

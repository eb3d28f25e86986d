"""Marts small enough to check by hand, as plain tables in a lake of their own; and some content that means harm.

Every day from 1 January 2025 to 31 March 2026 is alike: 10 searches on the web in Canada (organic) that bring CA$100,
and 5 on iOS in the United States (email) that bring CA$50. From 4 March 2026 on the first bring CA$120. So the last 28
days have 15 x 28 + 1 = 421 searches and 170 x 28 + 30 = CA$4,790; the 28 before CA$4,200.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from searchflow import lifecycle, warehouse
from searchflow.ops import record
from searchflow.settings import Settings, load_settings
from tests import clusters

NO_PORT = 9
"""A port on which no Prefect server answers, whatever else runs on this machine."""
HOSTILE_CAMPAIGN = '<img src=x onerror="window.hacked=1">'
HOSTILE_SOURCE = "![x](http://evil.example/x.png)"
HOSTILE_PLATFORM = "<b>tv</b> [go](http://evil.example)"
MODELS = (
    "marts.mart_kpi_daily",
    "marts.fct_search_funnel_daily",
    "marts.mart_campaign_attribution",
    "marts.mart_destination_demand",
    "marts.dim_users",
    "marts.mart_user_segments",
    "marts.mart_user_segment_history",
    "marts.mart_segment_transitions",
)

TABLES = {
    "marts.fct_search_funnel_daily": f"""
        WITH days AS (SELECT unnest(generate_series(DATE '2025-01-01', DATE '2026-03-31', INTERVAL 1 DAY))::DATE AS day)
        SELECT day AS search_date, 'web' AS platform, 'desktop' AS device_type, 'CA' AS country, 'organic' AS channel,
               10::BIGINT AS searches, 9::BIGINT AS searches_with_results, 4::BIGINT AS searches_with_click,
               5::BIGINT AS clicks, 1::BIGINT AS searches_with_conversion, 1::BIGINT AS conversions,
               (CASE WHEN day >= '2026-03-04' THEN 120 ELSE 100 END)::DECIMAL(18, 2) AS revenue,
               1::BIGINT AS zero_result_searches
        FROM days
        UNION ALL SELECT day, 'ios', 'mobile', 'US', 'email', 5, 5, 2, 2, 1, 1, 50, 0 FROM days
        UNION ALL SELECT DATE '2026-03-31', '{HOSTILE_PLATFORM}', NULL, 'XX', 'other', 1, 0, 0, 0, 0, 0, 0, 1
    """,
    # One booking of CA$30 on the last day followed no search: the business has it, the funnel has not.
    "marts.mart_kpi_daily": """
        SELECT search_date AS kpi_date, sum(searches)::BIGINT AS searches, (sum(searches) // 3)::BIGINT AS sessions,
               (sum(searches) // 4)::BIGINT AS visitors, sum(clicks)::BIGINT AS clicks,
               (sum(conversions) + if(search_date = '2026-03-31', 1, 0))::BIGINT AS conversions,
               (sum(revenue) + if(search_date = '2026-03-31', 30, 0))::DECIMAL(18, 2) AS revenue,
               sum(searches_with_click) / sum(searches)::DOUBLE AS click_through_rate,
               sum(searches_with_conversion) / sum(searches)::DOUBLE AS conversion_rate,
               sum(zero_result_searches) / sum(searches)::DOUBLE AS zero_result_rate,
               sum(revenue) / sum(searches)::DOUBLE AS revenue_per_search,
               if(search_date = '2026-03-31', 0.75, 1)::DOUBLE AS finality,
               if(search_date = '2026-03-31', 5, 0)::DOUBLE AS searches_to_come,
               if(search_date = '2026-03-31', 1, 0)::DOUBLE AS conversions_to_come,
               if(search_date = '2026-03-31', 60, 0)::DECIMAL(18, 2) AS revenue_to_come
        FROM marts.fct_search_funnel_daily GROUP BY search_date
    """,
    # Of each day's revenue: to a paid campaign for CA$20 what the model says, the rest to direct visits.
    "marts.mart_campaign_attribution": f"""
        WITH models(model, share) AS (VALUES ('first_touch', 0.6), ('last_touch', 0.3), ('last_non_direct', 0.7),
            ('linear', 0.5), ('position_based', 0.5), ('time_decay', 0.4), ('markov', 0.45)),
        days AS (SELECT search_date, sum(revenue) AS revenue FROM marts.fct_search_funnel_daily GROUP BY search_date)
        SELECT search_date AS attribution_date, model, 'google' AS utm_source, 'cpc' AS utm_medium,
               'brand' AS utm_campaign, 'paid_search' AS channel, (2 * share)::DOUBLE AS conversions,
               (revenue * share)::DECIMAL(18, 2) AS revenue, 20::DECIMAL(18, 2) AS cost
        FROM days, models
        UNION ALL
        SELECT search_date, model, NULL, NULL, NULL, 'direct', 2 * (1 - share), revenue - (revenue * share), 0
        FROM days, models
        UNION ALL
        SELECT DATE '2026-03-31', model, '{HOSTILE_SOURCE}', 'web', '{HOSTILE_CAMPAIGN}', 'other', 1, 30, 0 FROM models
    """,
    "marts.mart_destination_demand": """
        SELECT '2026-03-30'::DATE AS demand_date, 'Lisbon' AS destination, 10::BIGINT AS searches,
               3::BIGINT AS zero_result_searches, 4::BIGINT AS clicks, 1::BIGINT AS bookings,
               100::DECIMAL(18, 2) AS revenue, 8::BIGINT AS searches_with_dates, 30::DOUBLE AS avg_lead_time_days
        UNION ALL SELECT DATE '2026-03-30', '<script>window.hacked=1</script>', 2, 1, 0, 0, 0, 0, NULL
        UNION ALL SELECT DATE '2026-03-29', 'Lisbon', 10, 0, 4, 1, 60, 2, 80
        UNION ALL SELECT DATE '2026-03-30', 'Tokyo', 5, 0, 2, 1, 50, 0, NULL
    """,
    "marts.dim_users": """
        SELECT user_id, platform, device_type, country, searches::BIGINT AS searches, (searches // 2)::BIGINT AS clicks,
               bookings::BIGINT AS conversions, revenue::DECIMAL(18, 2) AS lifetime_revenue,
               TIMESTAMP '2026-03-01' AS first_seen_at, TIMESTAMP '2026-03-11' AS last_seen_at
        FROM (VALUES ('u1', 'web', 'desktop', 'CA', 40, 2, 900), ('u2', 'ios', 'mobile', 'US', 10, 1, 40),
            ('u3', 'web', 'desktop', 'CA', 4, 0, 0), ('u4', 'ios', 'mobile', 'US', 6, 1, 60))
            AS users(user_id, platform, device_type, country, searches, bookings, revenue)
    """,
    "marts.mart_user_segments": """
        SELECT user_id, segment, revenue::DECIMAL(18, 2) AS lifetime_revenue, conversions::BIGINT AS conversions,
               seen::TIMESTAMP AS first_seen_at, seen::TIMESTAMP AS last_seen_at, seen::TIMESTAMP AS last_search_at,
               TIMESTAMP '2026-03-31' AS segment_as_of,
               if(conversions > 0, if(revenue > 500, 5, 2), NULL)::INT AS rfm_recency,
               if(conversions > 0, if(conversions > 1, 5, 1), NULL)::INT AS rfm_frequency
        FROM (VALUES ('u1', 'high_value', 900, 2, '2026-03-21'), ('u2', 'regular', 40, 1, '2026-03-11'),
            ('u3', 'new_user', 0, 0, '2026-03-30'), ('u4', 'regular', 60, 1, '2026-03-21'))
            AS users(user_id, segment, revenue, conversions, seen)
    """,
    "marts.mart_user_segment_history": """
        SELECT user_id, segment, valid_from::TIMESTAMP AS valid_from, valid_to::TIMESTAMP AS valid_to
        FROM (VALUES ('u1', 'new_user', '2026-01-01', '2026-01-08'), ('u1', 'regular', '2026-01-08', '2026-03-21'),
            ('u1', 'high_value', '2026-03-21', NULL), ('u2', 'new_user', '2026-01-01', '2026-01-08'),
            ('u2', 'regular', '2026-01-08', NULL), ('u4', 'new_user', '2026-02-01', '2026-02-08'),
            ('u4', 'regular', '2026-02-08', NULL), ('u3', 'new_user', '2026-03-30', NULL))
            AS periods(user_id, segment, valid_from, valid_to)
    """,
    "marts.mart_segment_transitions": """
        SELECT month::DATE AS month, from_segment, to_segment, users::BIGINT AS users, users::BIGINT AS transitions
        FROM (VALUES ('2026-01-01', 'new_user', 'regular', 2), ('2026-02-01', 'new_user', 'regular', 1),
            ('2026-03-01', 'regular', 'high_value', 1)) AS moves(month, from_segment, to_segment, users)
    """,
    "marts.mart_position_clicks": """
        SELECT * FROM (VALUES (1::INT, 400::BIGINT, 80::BIGINT, 0.2::DOUBLE), (2, 400, 40, 0.1))
            AS places("position", searches_shown, first_clicks, click_rate)
    """,
    "marts.mart_position_corrected_clicks": """
        SELECT DATE '2026-03-30' AS search_date, 'web' AS platform, 'desktop' AS device_type, 'organic' AS channel,
               100::BIGINT AS searches, 33::BIGINT AS searches_with_click, 30::DOUBLE AS expected_clicks,
               0.33::DOUBLE AS click_rate, 1.1::DOUBLE AS coec
    """,
    "marts.mart_recommendation_quality": """
        SELECT DATE '2026-03-18' AS held_out_from, DATE '2026-03-24' AS held_out_until, 'all' AS scope, recommender,
               12::BIGINT AS users, recall::DOUBLE AS recall_at_10, recall::DOUBLE AS ndcg_at_10
        FROM (VALUES ('recommendations', 0.4), ('popular', 0.3)) AS found(recommender, recall)
    """,
    "marts.mart_sync_lift": """
        SELECT 'abandoned_search_emails' AS sync, TIMESTAMP '2026-03-01' AS first_assigned_at, 4::BIGINT AS pending_users,
               90::BIGINT AS treated_users, 10::BIGINT AS held_out_users, 0.2::DOUBLE AS treated_conversion_rate,
               0.1::DOUBLE AS held_out_conversion_rate, 0.1::DOUBLE AS conversion_rate_lift,
               -0.05::DOUBLE AS conversion_rate_lift_low, 0.25::DOUBLE AS conversion_rate_lift_high,
               12.5::DOUBLE AS revenue_per_user_lift, false AS is_conclusive
    """,
    "ops.kpi_restatements": """
        SELECT DATE '2026-03-30' AS kpi_date, 'revenue' AS metric, 100::DOUBLE AS old_value, 150::DOUBLE AS new_value,
               50::DOUBLE AS change, TIMESTAMP '2026-03-31 04:00:00' AS restated_at, 1::BIGINT AS late_searches,
               0::BIGINT AS late_clicks, 1::BIGINT AS late_conversions, 2::BIGINT AS late_events, 'late events' AS cause
    """,
    "ops.freshness": """
        SELECT 'marts.mart_kpi_daily' AS table_name, TIMESTAMP '2026-04-01' AS last_event_ts,
               TIMESTAMP '2026-04-01 00:05:00' AS last_loaded_at
    """,
}


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables that the models would make."""
    connection.execute("CREATE SCHEMA marts")
    for name, sql in TABLES.items():
        connection.execute(f"CREATE TABLE {name} AS {sql}")


def run_everything(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """One run of each stage, noted as the platform would: 12 events received, 9 stored, 1 duplicate, 2 dead letters."""
    at = now.replace(tzinfo=None) - timedelta(minutes=5)
    for place in range(9):
        connection.execute(
            "INSERT INTO raw.search_events VALUES (?, ?, NULL, 's', '{}', 1, ?, 'redis', ?, 'b1')",
            [f"e{place}", at, at, f"1-{place}"],
        )
    for place, reason in enumerate(("missing_field", "wrong_type")):
        connection.execute(
            "INSERT INTO raw.dead_letters "
            "VALUES (?, ?, 'redis', ?, 'search', ?, 'why', 'x'::BLOB, 'b1', 'open', NULL, NULL, NULL)",
            [f"d{place}", at, f"2-{place}", reason],
        )
    batch = {"batch_id": "b1", "shard": "search", "event_type": "search", "source": "redis", "committed_at": at}
    counts = {"received": 12, "stored": 9, "duplicates": 1, "dead_letters": 2, "late": 1, "last_event_ts": at}
    record.rows(connection, "ops.ingestion_batches", [batch | counts])
    stage = {"run_id": "r1", "started_at": at, "status": "completed", "duration_s": 2.5, "rows_in": 12, "rows_out": 9}
    record.rows(connection, "ops.stage_runs", [stage | {"stage": name} for name in ("ingestion", "transformation")])
    model = {
        "run_id": "r1",
        "environment": "prod",
        "status": "succeeded",
        "started_at": at,
        "duration_s": 0.5,
        "rows": 4,
    }
    record.rows(connection, "ops.model_runs", [model | {"model": name, "audits_passed": 2} for name in MODELS])
    sync = {"run_id": "r1", "sync": "crm_user_segments", "started_at": at, "status": "done", "added": 4, "changed": 0}
    record.rows(connection, "ops.sync_runs", [sync])
    metric = {"measured_at": at, "source": "searchflow:events:search", "seconds": 5.0, "received": 12, "stored": 9}
    record.rows(
        connection, "ops.ingestion_metrics", [metric | {"events_per_second": 2.4, "backlog": 3, "lag_seconds": 1.5}]
    )
    drift = {"run_id": "r1", "sync": "crm_user_segments", "checked_at": at, "expected": 4, "found": 4, "missing": 0}
    record.rows(connection, "ops.reconciliation_runs", [drift | {"different": 1, "unexpected": 0, "repaired": 0}])
    change = {"event_type": "search", "field": "cabin", "kind": "new_field", "json_type": "string", "first_seen_at": at}
    record.rows(connection, "ops.schema_changes", [change | {"source": "redis"}])
    for suite in MODELS:
        validate(connection, suite, "pass", at)


def validate(connection: duckdb.DuckDBPyConnection, suite: str, outcome: str, at: datetime, run_id: str = "v1") -> None:
    """One check of one suite, with this outcome."""
    check = {"run_id": run_id, "suite": suite, "table_name": suite, "expectation": "has_rows", "severity": "critical"}
    found = {"success": outcome == "pass", "outcome": outcome, "sentence": f"{suite} has rows.", "observed": "0 rows"}
    record.rows(connection, "ops.validation_results", [check | found | {"checked_at": at}])


@contextmanager
def opened() -> Iterator[Settings]:
    """A running home with these marts."""
    home = Path(tempfile.mkdtemp(prefix="sf-"))
    settings = load_settings(home=home, prefect_port=NO_PORT)
    try:
        clusters.start(settings)
        with warehouse.connect(settings) as connection:
            build(connection)
            run_everything(connection, datetime.now(UTC))
        yield settings
    finally:
        lifecycle.stop_all(settings)
        shutil.rmtree(home, ignore_errors=True)

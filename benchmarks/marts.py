"""Marts as ten million events would leave them, made in SQL: as many rows per day and dimension, users and runs.

The numbers in them mean nothing; their counts do. Twenty countries and every combination of platform, device and
channel on each of 400 days are more rows than a company of this size has. Used by `bench dashboards`.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from searchflow import warehouse
from searchflow.settings import Settings

EVENTS = 10_000_000
DAYS = 400
USERS = 300_000
CAMPAIGNS = 40
DESTINATIONS = 120
OPS_DAYS = 30

_COMBINATIONS = """
    SELECT search_date, platform, device_type, country, channel,
           (weight * country_weight * channel_weight * $searches_a_day)::BIGINT + 1 + hash(search_date, country) % 3
               AS searches
    FROM days
    CROSS JOIN (VALUES ('web', 'desktop', 0.36), ('web', 'mobile', 0.2), ('ios', 'mobile', 0.19),
        ('android', 'mobile', 0.15), ('ios', 'tablet', 0.06), ('web', 'tablet', 0.04)) AS p(platform, device_type, weight)
    CROSS JOIN (SELECT unnest($countries) AS country, 0.05 AS country_weight)
    CROSS JOIN (VALUES ('organic', 0.25), ('direct', 0.3), ('paid_search', 0.2), ('email', 0.08), ('paid_social', 0.08),
        ('affiliate', 0.06), ('other', 0.03)) AS c(channel, channel_weight)"""
COUNTRIES = (
    *("CA", "US", "GB", "FR", "DE", "AU", "ES", "NL", "IE", "IT"),
    *("MX", "BR", "JP", "IN", "SE", "NO", "CH", "PT", "BE", "NZ"),
)
SEGMENTS = "['regular', 'regular', 'regular', 'high_value', 'high_value', 'at_risk', 'abandoned_search', 'new_user']"

TABLES = {
    "marts.fct_search_funnel_daily": f"""
        SELECT search_date, platform, device_type, country, channel, searches,
               searches * 94 // 100 AS searches_with_results, searches * 30 // 100 AS searches_with_click,
               searches * 39 // 100 AS clicks, searches * 4 // 100 AS searches_with_conversion,
               searches * 4 // 100 AS conversions, (searches * 42.5)::DECIMAL(18, 2) AS revenue,
               searches - searches * 94 // 100 AS zero_result_searches
        FROM ({_COMBINATIONS})""",
    "marts.mart_kpi_daily": """
        SELECT search_date AS kpi_date, sum(searches)::BIGINT AS searches, (sum(searches) // 3)::BIGINT AS sessions,
               (sum(searches) // 4)::BIGINT AS visitors, sum(clicks)::BIGINT AS clicks,
               sum(conversions)::BIGINT AS conversions, sum(revenue)::DECIMAL(18, 2) AS revenue,
               sum(searches_with_click) / sum(searches)::DOUBLE AS click_through_rate,
               sum(searches_with_conversion) / sum(searches)::DOUBLE AS conversion_rate,
               sum(zero_result_searches) / sum(searches)::DOUBLE AS zero_result_rate,
               sum(revenue) / sum(searches)::DOUBLE AS revenue_per_search, 0.98::DOUBLE AS finality
        FROM marts.fct_search_funnel_daily GROUP BY search_date""",
    "marts.mart_campaign_attribution": """
        SELECT search_date AS attribution_date, model, 'source_' || campaign % 12 AS utm_source,
               ['cpc', 'email', 'paid_social', 'affiliate'][1 + campaign % 4] AS utm_medium,
               'campaign_' || campaign AS utm_campaign,
               ['paid_search', 'email', 'paid_social', 'affiliate', 'organic', 'direct', 'other'][1 + campaign % 7] AS channel,
               (1 + hash(campaign, model) % 9)::DOUBLE AS conversions,
               (900 + hash(search_date, campaign, model) % 5000)::DECIMAL(18, 2) AS revenue,
               (if(campaign % 7 IN (0, 2, 3), 120, 0))::DECIMAL(18, 2) AS cost
        FROM days CROSS JOIN range($campaigns) AS c(campaign)
        CROSS JOIN (SELECT unnest(['first_touch', 'last_touch', 'last_non_direct', 'linear', 'position_based',
                                   'time_decay', 'markov']) AS model)""",
    "marts.mart_destination_demand": """
        SELECT search_date AS demand_date, 'Destination ' || place AS destination,
               (20 + hash(search_date, place) % 200)::BIGINT AS searches, (hash(place) % 9)::BIGINT AS zero_result_searches,
               (8 + hash(search_date) % 50)::BIGINT AS clicks, (hash(search_date, place) % 8)::BIGINT AS bookings,
               (hash(search_date, place) % 9000)::DECIMAL(18, 2) AS revenue, 10::BIGINT AS searches_with_dates,
               40::DOUBLE AS avg_lead_time_days
        FROM days CROSS JOIN range($destinations) AS d(place)""",
    "marts.dim_users": f"""
        SELECT 'user' || id AS user_id, ['web', 'ios', 'android'][(1 + hash(id) % 3)::INT] AS platform,
               ['desktop', 'mobile', 'tablet'][(1 + hash(id, 1) % 3)::INT] AS device_type,
               {list(COUNTRIES)}[(1 + hash(id, 2) % 20)::INT] AS country, (1 + hash(id, 3) % 40)::BIGINT AS searches,
               (hash(id, 4) % 20)::BIGINT AS clicks, if(hash(id, 5) % 3 = 0, hash(id, 6) % 7, 0)::BIGINT AS conversions,
               (hash(id, 7) % 3000)::DECIMAL(18, 2) AS lifetime_revenue,
               $last::TIMESTAMP - to_days((hash(id, 8) % 400)::INT) AS first_seen_at,
               $last::TIMESTAMP - to_days((hash(id, 9) % 300)::INT) AS last_seen_at
        FROM range($users) AS u(id)""",
    "marts.mart_user_segments": f"""
        SELECT user_id, {SEGMENTS}[(1 + hash(user_id) % 8)::INT] AS segment, lifetime_revenue, conversions, first_seen_at,
               last_seen_at, last_seen_at AS last_search_at, $last::TIMESTAMP AS segment_as_of
        FROM marts.dim_users""",
    "marts.mart_user_segment_history": f"""
        SELECT user_id, {SEGMENTS}[(1 + hash(user_id, step) % 8)::INT] AS segment,
               first_seen_at + to_days((step * 30)::INT) AS valid_from,
               if(step = 5, NULL, first_seen_at + to_days((step * 30 + 30)::INT)) AS valid_to
        FROM marts.dim_users CROSS JOIN range(6) AS s(step)""",
    "marts.mart_segment_transitions": """
        SELECT month::DATE AS month, a AS from_segment, b AS to_segment, 100::BIGINT AS users, 120::BIGINT AS transitions
        FROM generate_series($first::DATE - 31, $last::DATE, INTERVAL 1 MONTH) AS m(month)
        CROSS JOIN (VALUES ('new_user'), ('regular'), ('high_value'), ('at_risk'), ('abandoned_search')) AS x(a)
        CROSS JOIN (VALUES ('new_user'), ('regular'), ('high_value'), ('at_risk'), ('abandoned_search')) AS y(b)
        WHERE a <> b""",
    "ops.freshness": """
        SELECT 'marts.model_' || n AS table_name, $last::TIMESTAMP AS last_event_ts, $now::TIMESTAMP AS last_loaded_at
        FROM range(40) AS t(n)""",
}
OPS = {
    "ops.model_runs": """
        (run_id, environment, model, started_at, duration_s, rows, audits_passed, audits_failed, status)
        SELECT 'r' || n, 'prod', model, $now::TIMESTAMP - to_minutes((n * 5)::INT), 0.4, 1000, 3, 0, 'succeeded'
        FROM range($runs) AS r(n) CROSS JOIN (SELECT unnest($models) AS model)""",
    "ops.validation_results": """
        (run_id, suite, table_name, expectation, severity, success, outcome, sentence, observed, checked_at)
        SELECT 'v' || n, suite, suite, 'check_' || place, 'critical', true, 'pass', 'Holds.', '0 of 1,000 rows',
               $now::TIMESTAMP - to_minutes((n * 15)::INT)
        FROM range($runs // 3) AS r(n) CROSS JOIN (SELECT unnest($models) AS suite) CROSS JOIN range(10) AS c(place)""",
    "ops.validated_tables": """
        (run_id, suite, checked_at, rows_in, rows_passed, rows_quarantined, duration_s)
        SELECT 'v' || n, suite, $now::TIMESTAMP - to_minutes((n * 15)::INT), 1000, 1000, 0, 0.2
        FROM range($runs // 3) AS r(n) CROSS JOIN (SELECT unnest($models) AS suite)""",
    "ops.stage_runs": """
        (run_id, stage, started_at, duration_s, status, rows_in, rows_out, rejected)
        SELECT 's' || n, stage, $now::TIMESTAMP - to_minutes((n * 5)::INT), 2.5, 'completed', 1000, 1000, 0
        FROM range($runs) AS r(n)
        CROSS JOIN (SELECT unnest(['ingestion', 'transformation', 'validation', 'activation']) AS stage)""",
    "ops.ingestion_batches": """
        (batch_id, shard, event_type, source, committed_at, received, stored, duplicates, dead_letters, late)
        SELECT 'b' || n, 'search', ['search', 'click', 'conversion'][1 + n % 3], 'redis',
               $now::TIMESTAMP - to_seconds((n * 10)::INT), 40, 40, 0, 0, 0 FROM range($runs * 30) AS r(n)""",
}
"""The rows that the platform writes about itself in 30 days of runs every 5 minutes."""


def fill(settings: Settings, now: datetime, size: float = 1.0) -> dict[str, int]:
    """Make the tables, the last day being the one before `now`. Return the rows of each."""
    last = now.date() - timedelta(days=1)
    given: dict[str, Any] = {
        "searches_a_day": 0.7 * EVENTS / DAYS * size,
        "countries": list(COUNTRIES),
        "campaigns": CAMPAIGNS,
        "destinations": DESTINATIONS,
        "users": max(100, round(USERS * size)),
        "first": last - timedelta(days=DAYS - 1),
        "last": last,
        "now": now.replace(tzinfo=None),
        "runs": max(6, round(OPS_DAYS * 288 * size)),
        "models": [name for name in TABLES if name.startswith("marts.")],
    }
    with warehouse.connect(settings) as connection:
        _days(connection, given["first"], last)
        connection.execute("CREATE SCHEMA IF NOT EXISTS marts")
        for name, sql in TABLES.items():
            connection.execute(f"CREATE TABLE {name} AS {sql}", _named(sql, given))
        for name, sql in OPS.items():
            connection.execute(f"INSERT INTO {name} {sql}", _named(sql, given))
        counted = [f"SELECT '{name}', count(*) FROM {name}" for name in (*TABLES, *OPS)]
        return dict(connection.execute(" UNION ALL ".join(counted)).fetchall())


def _days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> None:
    connection.execute(
        "CREATE TEMP TABLE days AS SELECT unnest(generate_series($first, $last, INTERVAL 1 DAY))::DATE AS search_date",
        {"first": first, "last": last},
    )


def _named(sql: str, given: dict[str, object]) -> dict[str, object]:
    """Return only the parameters that a statement names: DuckDB refuses others."""
    return {name: value for name, value in given.items() if f"${name}" in sql}

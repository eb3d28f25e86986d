"""Who the users are: how many in each segment, since when, and where they came from."""

from __future__ import annotations

from typing import Any

from dashboards.filters import Filters
from dashboards.periods import Period
from dashboards.queries.conditions import on
from dashboards.source import Reading

ORDER = ("high_value", "new_user", "regular", "abandoned_search", "at_risk")


def now(reading: Reading, filters: Filters) -> list[dict[str, Any]]:
    """One row a segment as of the newest run; platform, device and country are those of the user's newest search."""
    condition, parameters = on(filters, "platform", "device_type", "country")
    return reading.rows(
        f"""
        SELECT segments.segment, count(*) AS users, sum(segments.lifetime_revenue)::DOUBLE AS revenue,
               avg(segments.lifetime_revenue)::DOUBLE AS revenue_per_user,
               avg(segments.conversions)::DOUBLE AS bookings_per_user,
               median(date_diff('day', segments.last_seen_at, segments.segment_as_of)) AS days_since_seen,
               count(*) / sum(count(*)) OVER () AS share, max(segments.segment_as_of) AS as_of
        FROM marts.mart_user_segments AS segments JOIN marts.dim_users AS users USING (user_id)
        WHERE {condition} GROUP BY segments.segment ORDER BY segments.segment
        """,
        parameters,
    )


def history(reading: Reading, period: Period) -> list[dict[str, Any]]:
    """Users in each segment at the end of each day: who entered less who left, summed up from the beginning."""
    return reading.rows(
        """
        WITH changes AS (
            SELECT segment, valid_from::DATE AS day, count(*) AS moved FROM marts.mart_user_segment_history GROUP BY ALL
            UNION ALL
            SELECT segment, valid_to::DATE, -count(*) FROM marts.mart_user_segment_history
            WHERE valid_to IS NOT NULL GROUP BY ALL
        ), days AS (
            SELECT unnest(generate_series($first::DATE, $last::DATE, INTERVAL 1 DAY))::DATE AS day
        ), before AS (
            SELECT segment, sum(moved) AS users FROM changes WHERE day < $first GROUP BY segment
        ), daily AS (
            SELECT segment, day, sum(moved) AS moved FROM changes WHERE day BETWEEN $first AND $last GROUP BY ALL
        ), segments AS (SELECT DISTINCT segment FROM changes)
        SELECT segments.segment, days.day,
               (coalesce(before.users, 0) + coalesce(sum(daily.moved) OVER (
                   PARTITION BY segments.segment ORDER BY days.day), 0))::BIGINT AS users
        FROM segments CROSS JOIN days
        LEFT JOIN before ON before.segment = segments.segment
        LEFT JOIN daily ON daily.segment = segments.segment AND daily.day = days.day
        ORDER BY days.day, segments.segment
        """,
        {"first": period.first, "last": period.last},
    )


def transitions(reading: Reading, period: Period) -> list[dict[str, Any]]:
    """How often users changed from one segment to another in the months that the period touches."""
    return reading.rows(
        """
        SELECT from_segment, to_segment, sum(transitions)::BIGINT AS transitions FROM marts.mart_segment_transitions
        WHERE month BETWEEN date_trunc('month', $first::DATE) AND $last GROUP BY ALL ORDER BY from_segment, to_segment
        """,
        {"first": period.first, "last": period.last},
    )

"""Queries about the users: how many there are in each segment, since when, and where they came from."""

from __future__ import annotations

from typing import Any

from dashboards.filters import Filters
from dashboards.periods import Period
from dashboards.queries.conditions import on
from dashboards.source import Reading

ORDER = ("high_value", "new_user", "regular", "abandoned_search", "at_risk")


def now(reading: Reading, filters: Filters) -> list[dict[str, Any]]:
    """Return one row for each segment as of the newest run; platform, device and country are those of the user's
    newest search."""
    condition, parameters = on(filters, "platform", "device_type", "country")
    return reading.rows(
        f"""
        WITH shown AS (
            SELECT segments.* FROM marts.mart_user_segments AS segments JOIN marts.dim_users AS users USING (user_id)
            WHERE {condition}
        )
        SELECT segment, count(*) AS users, sum(lifetime_revenue)::DOUBLE AS revenue,
               avg(lifetime_revenue)::DOUBLE AS revenue_per_user, avg(conversions)::DOUBLE AS bookings_per_user,
               median(date_diff('day', last_seen_at, segment_as_of)) AS days_since_seen,
               count(*) / (SELECT count(*) FROM shown) AS share, max(segment_as_of) AS as_of
        FROM shown GROUP BY segment ORDER BY segment
        """,
        parameters,
    )


def history(reading: Reading, period: Period) -> list[dict[str, Any]]:
    """Return users in each segment at the end of each day: who entered less who left, summed up from the beginning."""
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
    """Return how often users changed from one segment to another in the months that the period touches."""
    return reading.rows(
        """
        SELECT from_segment, to_segment, sum(transitions)::BIGINT AS transitions FROM marts.mart_segment_transitions
        WHERE month BETWEEN date_trunc('month', $first::DATE) AND $last GROUP BY ALL ORDER BY from_segment, to_segment
        """,
        {"first": period.first, "last": period.last},
    )


TRAITS = {"platform": "Platform", "device_type": "Device", "country": "Country"}
RARE = 0.005
"""The least share of users who have a value: a rarer value says nothing about a segment."""
FREQUENCIES = ("1", "2", "3", "4", "5+")
RECENCIES = ("0-7", "8-30", "31-90", "91-180", "181-365", "over 365")


def traits(reading: Reading, segment: str) -> list[dict[str, Any]]:
    """Return how often each value of each trait is found in a segment, and among all users: what sets the segment
    apart."""
    parts = " UNION ALL ".join(
        f"""
        SELECT '{name}' AS trait, users.{name} AS value, count(*) FILTER (segments.segment = $segment) AS users,
               count(*) AS of_all
        FROM marts.mart_user_segments AS segments JOIN marts.dim_users AS users USING (user_id) GROUP BY ALL
        """
        for name in TRAITS
    )
    return reading.rows(
        f"""
        WITH counts AS ({parts}), shares AS (
            SELECT *, users / nullif(sum(users) OVER (PARTITION BY trait), 0) AS share,
                   of_all / sum(of_all) OVER (PARTITION BY trait) AS share_of_all
            FROM counts
        )
        SELECT *, share / nullif(share_of_all, 0) AS ratio FROM shares WHERE share_of_all >= {RARE}
        QUALIFY row_number() OVER (PARTITION BY trait ORDER BY of_all DESC, value) <= 8
        ORDER BY list_position({list(TRAITS)}, trait), of_all DESC, value
        """,
        {"segment": segment},
    )


def habits(reading: Reading, segment: str) -> list[dict[str, Any]]:
    """Return what the users of a segment do, beside all users: means per user."""
    return reading.rows(
        """
        SELECT groups.name, count(*) AS users, avg(users.searches)::DOUBLE AS searches,
               avg(users.clicks)::DOUBLE AS clicks, avg(users.conversions)::DOUBLE AS bookings,
               avg(users.lifetime_revenue)::DOUBLE AS revenue,
               sum(users.clicks) / nullif(sum(users.searches), 0)::DOUBLE AS clicks_per_search,
               sum(users.searches) / nullif(sum(users.conversions), 0)::DOUBLE AS look_to_book,
               median(date_diff('day', users.first_seen_at, users.last_seen_at))::DOUBLE AS days_known
        FROM marts.dim_users AS users JOIN marts.mart_user_segments AS segments USING (user_id)
        JOIN (VALUES ('segment'), ('all')) AS groups(name) ON groups.name = 'all' OR segments.segment = $segment
        GROUP BY groups.name ORDER BY groups.name DESC
        """,
        {"segment": segment},
    )


def recency_frequency(reading: Reading, filters: Filters) -> list[dict[str, Any]]:
    """Return users who booked, by days since they were last seen and by how often they booked."""
    condition, parameters = on(filters, "platform", "device_type", "country")
    return reading.rows(
        f"""
        SELECT CASE WHEN days <= 7 THEN '0-7' WHEN days <= 30 THEN '8-30' WHEN days <= 90 THEN '31-90'
                    WHEN days <= 180 THEN '91-180' WHEN days <= 365 THEN '181-365' ELSE 'over 365' END AS recency,
               CASE WHEN conversions >= 5 THEN '5+' ELSE conversions::VARCHAR END AS frequency,
               count(*) AS users, sum(lifetime_revenue)::DOUBLE AS revenue
        FROM (
            SELECT segments.conversions, segments.lifetime_revenue,
                   date_diff('day', segments.last_seen_at, segments.segment_as_of) AS days
            FROM marts.mart_user_segments AS segments JOIN marts.dim_users AS users USING (user_id)
            WHERE segments.conversions > 0 AND {condition}
        ) GROUP BY ALL ORDER BY ALL
        """,
        parameters,
    )


QUINTILES = ("5", "4", "3", "2", "1")


def quintiles(reading: Reading, filters: Filters) -> list[dict[str, Any]]:
    """Return users who booked by quintiles among all customers (RFM), 5 being the best."""
    condition, parameters = on(filters, "platform", "device_type", "country")
    return reading.rows(
        f"""
        SELECT segments.rfm_recency::VARCHAR AS recency, segments.rfm_frequency::VARCHAR AS frequency, count(*) AS users,
               sum(segments.lifetime_revenue)::DOUBLE AS revenue
        FROM marts.mart_user_segments AS segments JOIN marts.dim_users AS users USING (user_id)
        WHERE segments.rfm_recency IS NOT NULL AND {condition} GROUP BY ALL ORDER BY ALL
        """,
        parameters,
    )

"""Queries for the way from searches to bookings: the steps, and the steps by one dimension."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from dashboards.filters import DIMENSIONS, Filters
from dashboards.periods import Period
from dashboards.queries.conditions import between, on
from dashboards.source import Reading

_SUMS = """
    coalesce(sum(searches), 0)::BIGINT AS searches,
    coalesce(sum(searches_with_results), 0)::BIGINT AS with_results,
    coalesce(sum(searches_with_click), 0)::BIGINT AS with_click,
    coalesce(sum(searches_with_conversion), 0)::BIGINT AS with_booking,
    coalesce(sum(zero_result_searches), 0)::BIGINT AS zero_result_searches,
    coalesce(sum(clicks), 0)::BIGINT AS clicks, coalesce(sum(conversions), 0)::BIGINT AS bookings,
    coalesce(sum(revenue), 0)::DOUBLE AS revenue
"""


@dataclass(frozen=True)
class FunnelSteps:
    """The number of searches that got to each step."""

    searches: int
    with_results: int
    with_click: int
    with_booking: int
    zero_result_searches: int
    clicks: int
    bookings: int
    revenue: float

    @property
    def steps(self) -> list[tuple[str, int]]:
        """Return the steps in their order, by name."""
        return [
            ("Searches", self.searches),
            ("… with results", self.with_results),
            ("… with a click", self.with_click),
            ("… with a booking", self.with_booking),
        ]


def steps(reading: Reading, filters: Filters, period: Period) -> FunnelSteps:
    """Return the funnel of the period's searches."""
    condition, parameters = on(filters)
    sql = (
        f"SELECT {_SUMS} FROM marts.fct_search_funnel_daily WHERE search_date BETWEEN $first AND $last AND {condition}"
    )
    return FunnelSteps(**reading.row(sql, {**between(period), **parameters}))


def by(reading: Reading, filters: Filters, period: Period, dimension: str) -> list[dict[str, Any]]:
    """Return the funnel for each value of a dimension, the most searched first; rates as shares of searches."""
    if dimension not in DIMENSIONS:
        raise ValueError(f"{dimension} is no dimension of the funnel. Use one of {', '.join(DIMENSIONS)}.")
    condition, parameters = on(filters)
    return reading.rows(
        f"""
        WITH sums AS (
            SELECT {dimension} AS value, {_SUMS} FROM marts.fct_search_funnel_daily
            WHERE search_date BETWEEN $first AND $last AND {condition} GROUP BY ALL
        )
        SELECT *, with_results / nullif(searches, 0) AS results_rate, with_click / nullif(searches, 0) AS click_rate,
               with_booking / nullif(searches, 0) AS booking_rate, revenue / nullif(searches, 0) AS revenue_per_search
        FROM sums ORDER BY searches DESC, value LIMIT 30
        """,
        {**between(period), **parameters},
    )


def destinations(reading: Reading, period: Period, before: Period | None) -> list[dict[str, Any]]:
    """Return demand for the places most searched for: look-to-book, revenue, what was asked for in vain, and its
    change."""
    earlier = before or Period(date.max, date.min)
    return reading.rows(
        """
        WITH sums AS (
            SELECT destination, sum(searches) FILTER (now)::BIGINT AS searches,
                   sum(zero_result_searches) FILTER (now)::BIGINT AS zero_result_searches,
                   sum(clicks) FILTER (now)::BIGINT AS clicks, sum(bookings) FILTER (now)::BIGINT AS bookings,
                   sum(revenue) FILTER (now)::DOUBLE AS revenue,
                   sum(avg_lead_time_days * searches_with_dates) FILTER (now)
                       / nullif(sum(searches_with_dates) FILTER (now), 0) AS lead_time_days,
                   sum(searches) FILTER (NOT now)::BIGINT AS searches_before
            FROM (
                SELECT *, demand_date BETWEEN $first AND $last AS now FROM marts.mart_destination_demand
                WHERE destination IS NOT NULL
                  AND (demand_date BETWEEN $first AND $last OR demand_date BETWEEN $before_first AND $before_last)
            ) GROUP BY destination
        )
        SELECT *, clicks / searches AS clicks_per_search, searches / nullif(bookings, 0) AS look_to_book,
               revenue / searches AS revenue_per_search, zero_result_searches / searches AS zero_result_rate,
               searches / nullif(searches_before, 0) - 1 AS change
        FROM sums WHERE searches > 0 ORDER BY searches DESC, destination LIMIT 40
        """,
        {**between(period), "before_first": earlier.first, "before_last": earlier.last},
    )


def unserved(reading: Reading, period: Period) -> list[dict[str, Any]]:
    """Return destinations that people asked for and found nothing, the most asked for first."""
    return reading.rows(
        """
        SELECT destination, sum(zero_result_searches)::BIGINT AS zero_result_searches,
               sum(searches)::BIGINT AS searches,
               sum(zero_result_searches) / sum(searches) AS zero_result_rate, sum(bookings)::BIGINT AS bookings
        FROM marts.mart_destination_demand WHERE demand_date BETWEEN $first AND $last AND destination IS NOT NULL
        GROUP BY destination HAVING sum(zero_result_searches) > 0
        ORDER BY zero_result_searches DESC, destination LIMIT 10
        """,
        between(period),
    )


def vain_by_day(reading: Reading, filters: Filters, period: Period) -> list[dict[str, Any]]:
    """Return searches that found nothing, and their share, by day."""
    condition, parameters = on(filters)
    return reading.rows(
        f"""
        SELECT search_date AS day, sum(zero_result_searches)::BIGINT AS zero_result_searches,
               sum(zero_result_searches) / nullif(sum(searches), 0) AS share
        FROM marts.fct_search_funnel_daily
        WHERE search_date BETWEEN $first AND $last AND {condition} GROUP BY search_date ORDER BY search_date
        """,
        {**between(period), **parameters},
    )


def positions(reading: Reading) -> list[dict[str, Any]]:
    """Return how often each of the first 20 places is the first one clicked, as learnt from the last 90 days."""
    return reading.rows(
        """
        SELECT position, searches_shown, first_clicks, click_rate,
               first_clicks / (SELECT sum(first_clicks) FROM marts.mart_position_clicks) AS share
        FROM marts.mart_position_clicks ORDER BY position LIMIT 20
        """
    )


def corrected_clicks(reading: Reading, filters: Filters, period: Period, dimension: str) -> list[dict[str, Any]]:
    """Return clicks over the clicks that the shown places alone would bring (COEC), by platform, device or channel."""
    condition, parameters = on(filters, *CORRECTED)
    return reading.rows(
        f"""
        SELECT {dimension} AS value, sum(searches)::BIGINT AS searches,
               sum(searches_with_click)::BIGINT AS searches_with_click, sum(expected_clicks)::DOUBLE AS expected_clicks,
               sum(searches_with_click) / nullif(sum(searches), 0) AS click_rate,
               sum(searches_with_click) / nullif(sum(expected_clicks), 0) AS coec
        FROM marts.mart_position_corrected_clicks
        WHERE search_date BETWEEN $first AND $last AND {condition} GROUP BY ALL ORDER BY searches DESC, value LIMIT 15
        """,
        {**between(period), **parameters},
    )


CORRECTED = ("platform", "device_type", "channel")
"""The dimensions by which the corrected click rate is known."""

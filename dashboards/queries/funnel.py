"""From searches to bookings: the steps, and the steps by one dimension."""

from __future__ import annotations

from dataclasses import dataclass
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
class Funnel:
    """How many searches got how far."""

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
        """The steps in their order, by name."""
        return [
            ("Searches", self.searches),
            ("… with results", self.with_results),
            ("… with a click", self.with_click),
            ("… with a booking", self.with_booking),
        ]


def steps(reading: Reading, filters: Filters, period: Period) -> Funnel:
    """The funnel of the period's searches."""
    condition, parameters = on(filters)
    sql = (
        f"SELECT {_SUMS} FROM marts.fct_search_funnel_daily WHERE search_date BETWEEN $first AND $last AND {condition}"
    )
    return Funnel(**reading.row(sql, {**between(period), **parameters}))


def by(reading: Reading, filters: Filters, period: Period, dimension: str) -> list[dict[str, Any]]:
    """The same for each value of a dimension, the most searched first; rates as shares of searches."""
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


def unserved(reading: Reading, period: Period) -> list[dict[str, Any]]:
    """Destinations people asked for and found nothing, the most asked for first."""
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

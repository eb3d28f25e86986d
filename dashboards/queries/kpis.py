"""The figures of the business, from `mart_kpi_daily`; with a filter from `fct_search_funnel_daily`.

The two differ on purpose: the first counts bookings on the day they were made, the second those that a day's searches
led to, whenever they were made. The page says which one it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from dashboards.filters import Filters
from dashboards.periods import Period
from dashboards.queries.conditions import between, on
from dashboards.source import Reading


@dataclass(frozen=True)
class Kpis:
    """Sums over some days, and the rates that follow from them (None without a denominator)."""

    searches: float = 0
    searches_with_click: float = 0
    searches_with_conversion: float = 0
    zero_result_searches: float = 0
    conversions: float = 0
    revenue: float = 0
    search_revenue: float = 0

    @property
    def click_through_rate(self) -> float | None:
        """Share of searches with a click."""
        return _share(self.searches_with_click, self.searches)

    @property
    def conversion_rate(self) -> float | None:
        """Share of searches that led to a booking."""
        return _share(self.searches_with_conversion, self.searches)

    @property
    def zero_result_rate(self) -> float | None:
        """Share of searches that found nothing."""
        return _share(self.zero_result_searches, self.searches)

    @property
    def revenue_per_search(self) -> float | None:
        """What the searches brought, per search."""
        return _share(self.search_revenue, self.searches)

    @property
    def avg_booking_value(self) -> float | None:
        """Revenue per booking."""
        return _share(self.revenue, self.conversions)


COLUMNS = tuple(Kpis.__dataclass_fields__)

# The mart holds rates: a rate times its day's searches is the sum it was made of.
_UNFILTERED = """
    SELECT kpi_date AS day, searches::DOUBLE AS searches,
           coalesce(click_through_rate, 0) * searches AS searches_with_click,
           coalesce(conversion_rate, 0) * searches AS searches_with_conversion,
           coalesce(zero_result_rate, 0) * searches AS zero_result_searches,
           conversions::DOUBLE AS conversions, revenue::DOUBLE AS revenue,
           coalesce(revenue_per_search, 0) * searches AS search_revenue
    FROM marts.mart_kpi_daily WHERE kpi_date BETWEEN $first AND $last
"""


def _days(filters: Filters, period: Period) -> tuple[str, dict[str, Any]]:
    if not filters.any_dimension:
        return _UNFILTERED, between(period)
    condition, parameters = on(filters)
    sql = f"""
        SELECT search_date AS day, sum(searches)::DOUBLE AS searches,
               sum(searches_with_click)::DOUBLE AS searches_with_click,
               sum(searches_with_conversion)::DOUBLE AS searches_with_conversion,
               sum(zero_result_searches)::DOUBLE AS zero_result_searches,
               sum(conversions)::DOUBLE AS conversions, sum(revenue)::DOUBLE AS revenue,
               sum(revenue)::DOUBLE AS search_revenue
        FROM marts.fct_search_funnel_daily
        WHERE search_date BETWEEN $first AND $last AND {condition} GROUP BY search_date
    """
    return sql, {**between(period), **parameters}


def daily(reading: Reading, filters: Filters, period: Period) -> list[tuple[date, Kpis]]:
    """Each day of the period; a day on which nothing happened has zeros."""
    sql, parameters = _days(filters, period)
    found = {
        row.pop("day"): Kpis(**row)
        for row in reading.rows(f"SELECT day, {', '.join(COLUMNS)} FROM ({sql}) ORDER BY day", parameters)
    }
    every_day = [period.first + timedelta(days=n) for n in range(period.days)]
    return [(day, found.get(day, Kpis())) for day in every_day]


def total(days: list[tuple[date, Kpis]]) -> Kpis:
    """The sum of some days."""
    return Kpis(**{name: sum(getattr(kpis, name) for _, kpis in days) for name in COLUMNS})


def movers(reading: Reading, filters: Filters, now: Period, before: Period, dimension: str) -> list[dict[str, Any]]:
    """Revenue by the values of one dimension in two periods, the largest change first."""
    condition, parameters = on(filters)
    return reading.rows(
        f"""
        SELECT {dimension} AS value,
               coalesce(sum(revenue) FILTER (search_date BETWEEN $first AND $last), 0)::DOUBLE AS revenue_now,
               coalesce(sum(revenue) FILTER (search_date BETWEEN $before_first AND $before_last), 0)::DOUBLE
                   AS revenue_before
        FROM marts.fct_search_funnel_daily
        WHERE search_date BETWEEN $before_first AND $last AND {condition}
        GROUP BY ALL ORDER BY abs(revenue_now - revenue_before) DESC, value LIMIT 8
        """,
        {**parameters, **between(now), "before_first": before.first, "before_last": before.last},
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

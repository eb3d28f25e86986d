"""Queries for the figures of the business, from `mart_kpi_daily`; with a filter from `fct_search_funnel_daily`.

The two differ on purpose: the first counts bookings on the day they were made, the second those that a day's searches
led to, whenever they were made. The page says which one it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from dashboards.filters import Filters
from dashboards.periods import Period, a_year_before
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
        """Return the share of searches with a click."""
        return _share(self.searches_with_click, self.searches)

    @property
    def conversion_rate(self) -> float | None:
        """Return the share of searches that led to a booking."""
        return _share(self.searches_with_conversion, self.searches)

    @property
    def zero_result_rate(self) -> float | None:
        """Return the share of searches that found nothing."""
        return _share(self.zero_result_searches, self.searches)

    @property
    def revenue_per_search(self) -> float | None:
        """Return what the searches brought, per search."""
        return _share(self.search_revenue, self.searches)

    @property
    def avg_booking_value(self) -> float | None:
        """Return the revenue per booking."""
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
    """Return each day of the period; a day on which nothing happened has zeros."""
    sql, parameters = _days(filters, period)
    found = {
        row.pop("day"): Kpis(**row)
        for row in reading.rows(f"SELECT day, {', '.join(COLUMNS)} FROM ({sql}) ORDER BY day", parameters)
    }
    every_day = [period.first + timedelta(days=n) for n in range(period.days)]
    return [(day, found.get(day, Kpis())) for day in every_day]


def total(days: list[tuple[date, Kpis]]) -> Kpis:
    """Return the sum of some days."""
    return Kpis(**{name: sum(getattr(kpis, name) for _, kpis in days) for name in COLUMNS})


@dataclass(frozen=True)
class Span:
    """A whole day, week or month with its sums, those of the one before, and those a year before (None: not known)."""

    period: Period
    now: Kpis
    before: Kpis | None
    year: Kpis | None


GRAINS = {"day": "Day", "week": "Week", "month": "Month"}
SHOWN = {"day": 14, "week": 9, "month": 13}
"""The number of days, weeks and months that are listed."""


def spans(daily: list[tuple[date, Kpis]], grain: str, *, last_over: date) -> list[Span]:
    """Return the newest whole days, weeks (from Monday) or months, the newest first.

    A year before is the same month, or 52 weeks earlier, so that the weekdays are the same.
    """
    by_day = dict(daily)
    known = Period(daily[0][0], daily[-1][0])
    last = min(last_over, known.last)
    found: list[Span] = []
    period = _whole(last, grain)
    if period.last > last:
        period = _whole(period.first - timedelta(days=1), grain)
    while period.within(known) and len(found) < SHOWN[grain]:
        before = _whole(period.first - timedelta(days=1), grain)
        year = (
            _whole(a_year_before(period.first), grain)
            if grain == "month"
            else Period(period.first - timedelta(days=364), period.last - timedelta(days=364))
        )
        sums = [_sum(by_day, each) if each.within(known) else None for each in (period, before, year)]
        found.append(Span(period, sums[0] or Kpis(), sums[1], sums[2]))
        period = before
    return found


def _whole(day: date, grain: str) -> Period:
    """Return the day, week or month that a day is in."""
    if grain == "day":
        return Period(day, day)
    if grain == "week":
        monday = day - timedelta(days=day.weekday())
        return Period(monday, monday + timedelta(days=6))
    first = day.replace(day=1)
    return Period(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))


def _sum(by_day: dict[date, Kpis], period: Period) -> Kpis:
    return total(
        [(day, by_day[day]) for n in range(period.days) if (day := period.first + timedelta(days=n)) in by_day]
    )


MOVERS = ("channel", "country", "platform", "device_type", "destination")
MOST_MOVERS = 5
"""The number of the best that are shown, and of the worst."""


def movers(reading: Reading, filters: Filters, now: Period, before: Period, dimension: str) -> list[dict[str, Any]]:
    """Return what gained and what lost most revenue between two periods, from the best to the worst.

    Destinations are counted for all visitors together: their mart knows no other dimension.
    """
    if dimension not in MOVERS:
        raise ValueError(f"{dimension} is no dimension of movers. Use one of {', '.join(MOVERS)}.")
    table, day = "marts.fct_search_funnel_daily", "search_date"
    condition, parameters = on(filters)
    if dimension == "destination":
        table, day = "marts.mart_destination_demand", "demand_date"
        condition, parameters = "destination IS NOT NULL", {}
    return reading.rows(
        f"""
        WITH sums AS (
            SELECT {dimension} AS value,
                   coalesce(sum(revenue) FILTER ({day} BETWEEN $first AND $last), 0)::DOUBLE AS revenue_now,
                   coalesce(sum(revenue) FILTER ({day} BETWEEN $before_first AND $before_last), 0)::DOUBLE
                       AS revenue_before,
                   coalesce(sum(searches) FILTER ({day} BETWEEN $first AND $last), 0)::BIGINT AS searches_now,
                   coalesce(sum(searches) FILTER ({day} BETWEEN $before_first AND $before_last), 0)::BIGINT
                       AS searches_before
            FROM {table}
            WHERE ({day} BETWEEN $before_first AND $before_last OR {day} BETWEEN $first AND $last) AND {condition}
            GROUP BY ALL
        )
        SELECT *, revenue_now - revenue_before AS change, revenue_now / nullif(revenue_before, 0) - 1 AS relative
        FROM sums WHERE revenue_now <> revenue_before
        QUALIFY least(row_number() OVER (ORDER BY change DESC, value), row_number() OVER (ORDER BY change, value))
            <= {MOST_MOVERS}
        ORDER BY change DESC, value
        """,
        {**parameters, **between(now), "before_first": before.first, "before_last": before.last},
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

"""Queries for what each channel and campaign cost and brought, by attribution model. Every model shares the same
booked revenue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards.filters import Filters
from dashboards.periods import Period
from dashboards.queries.conditions import between, on
from dashboards.source import Reading

MODELS = {
    "first_touch": "All credit to the visit that came first.",
    "last_touch": "All credit to the visit right before the booking.",
    "last_non_direct": "All credit to the last visit that some marketing brought.",
    "linear": "Every visit of the 30 days before gets the same.",
    "position_based": "40 % to the first and to the last visit, the rest shared between.",
    "time_decay": "The closer to the booking, the more; half every 7 days.",
    "markov": "By how many bookings would be lost without the channel.",
}
"""Model -> what it does, in the order of the page."""
DEFAULT_MODEL = "last_non_direct"
_SPEND = """
    sum(cost)::DOUBLE AS cost, sum(revenue)::DOUBLE AS revenue, sum(conversions)::DOUBLE AS bookings,
    sum(revenue)::DOUBLE / nullif(sum(cost)::DOUBLE, 0) AS roas,
    nullif(sum(cost), 0)::DOUBLE / nullif(sum(conversions), 0) AS cost_per_booking
"""


@dataclass(frozen=True)
class Spend:
    """Totals of one model. `paid_revenue` is what the campaigns that cost something were credited with."""

    cost: float
    revenue: float
    bookings: float
    paid_revenue: float
    paid_bookings: float

    @property
    def roas(self) -> float | None:
        """Return the return on ad spend: revenue of the campaigns that cost something, per dollar spent."""
        return self.paid_revenue / self.cost if self.cost else None

    @property
    def cost_per_booking(self) -> float | None:
        """Return what a booking of those campaigns cost."""
        return self.cost / self.paid_bookings if self.paid_bookings and self.cost else None


def total(reading: Reading, filters: Filters, period: Period, model: str) -> Spend:
    """Return the sums of the period."""
    condition, parameters = on(filters, "channel")
    row = reading.row(
        f"""
        WITH campaigns AS (
            SELECT utm_source, utm_medium, utm_campaign, channel, sum(cost)::DOUBLE AS cost,
                   sum(revenue)::DOUBLE AS revenue, sum(conversions)::DOUBLE AS bookings
            FROM marts.mart_campaign_attribution
            WHERE model = $model AND attribution_date BETWEEN $first AND $last AND {condition} GROUP BY ALL
        )
        SELECT coalesce(sum(cost), 0) AS cost, coalesce(sum(revenue), 0) AS revenue,
               coalesce(sum(bookings), 0) AS bookings,
               coalesce(sum(revenue) FILTER (cost > 0), 0) AS paid_revenue,
               coalesce(sum(bookings) FILTER (cost > 0), 0) AS paid_bookings
        FROM campaigns
        """,
        {**between(period), **parameters, "model": model},
    )
    return Spend(**row)


def _grouped(reading: Reading, filters: Filters, period: Period, model: str, keys: str) -> list[dict[str, Any]]:
    condition, parameters = on(filters, "channel")
    return reading.rows(
        f"""
        SELECT {keys}, {_SPEND} FROM marts.mart_campaign_attribution
        WHERE model = $model AND attribution_date BETWEEN $first AND $last AND {condition}
        GROUP BY ALL HAVING sum(cost) > 0 OR sum(revenue) > 0 OR sum(conversions) > 0
        ORDER BY revenue DESC, cost DESC, {keys} LIMIT 200
        """,
        {**between(period), **parameters, "model": model},
    )


LEVELS = {
    "channel": "channel",
    "source": "channel, utm_source",
    "medium": "utm_medium",
    "campaign": "channel, utm_source, utm_medium, utm_campaign",
}
"""Level that credit can be read by -> its columns."""


def at_level(reading: Reading, filters: Filters, period: Period, model: str, level: str) -> list[dict[str, Any]]:
    """Return one row for each channel, source, medium or campaign, the one with most revenue first."""
    return _grouped(reading, filters, period, model, LEVELS[level])


def first_against_last(reading: Reading, filters: Filters, period: Period, level: str) -> list[dict[str, Any]]:
    """Return revenue under first and last touch: what opens journeys, and what closes them. The 12 largest moves."""
    condition, parameters = on(filters, "channel")
    keys = LEVELS[level]
    return reading.rows(
        f"""
        WITH sums AS (
            SELECT {keys}, coalesce(sum(revenue) FILTER (model = 'first_touch'), 0)::DOUBLE AS first_touch,
                   coalesce(sum(revenue) FILTER (model = 'last_touch'), 0)::DOUBLE AS last_touch
            FROM marts.mart_campaign_attribution
            WHERE attribution_date BETWEEN $first AND $last AND model IN ('first_touch', 'last_touch') AND {condition}
            GROUP BY ALL
        )
        SELECT *, last_touch - first_touch AS moves, last_touch / nullif(first_touch, 0) - 1 AS relative
        FROM sums WHERE first_touch > 0 OR last_touch > 0
        QUALIFY row_number() OVER (ORDER BY abs(last_touch - first_touch) DESC, {keys}) <= 12
        ORDER BY moves, {keys}
        """,
        {**between(period), **parameters},
    )


def by_model(reading: Reading, filters: Filters, period: Period) -> list[dict[str, Any]]:
    """Return the revenue of each channel by each model."""
    condition, parameters = on(filters, "channel")
    return reading.rows(
        f"""
        SELECT model, channel, sum(revenue)::DOUBLE AS revenue FROM marts.mart_campaign_attribution
        WHERE attribution_date BETWEEN $first AND $last AND {condition} GROUP BY ALL ORDER BY model, channel
        """,
        {**between(period), **parameters},
    )

"""What brings visitors: sources, mediums and campaigns, their mix by month, their price and their true effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from generators.calendar import month_of
from generators.draws import Draws, Floats, Ints, Keys, pick

_ALWAYS = tuple(range(12))
_SUMMER, _WINTER = (3, 4, 5, 6), (9, 10, 11, 0, 1)


class Campaign(NamedTuple):
    """One combination of utm_source, utm_medium and utm_campaign (all None: direct)."""

    source: str | None
    medium: str | None
    campaign: str | None
    first: float  # weight for the first visit of a trip
    later: float  # weight for the visits after it
    effect: float = 1.0  # how much likelier its visitors are to book
    cost_per_click: float = 0.0
    currency: str = "CAD"
    budget: float = 0.0  # a day, for each visit a day that the whole site has
    months: tuple[int, ...] = _ALWAYS


CAMPAIGNS = (
    Campaign(None, None, None, 22, 42, 1.15),
    Campaign("google", "organic", None, 24, 16, 1.0),
    Campaign("bing", "organic", None, 3, 2, 1.0),
    Campaign("google", "cpc", "brand", 5, 6, 1.3, 1.40, "CAD", 0.120),
    Campaign("google", "cpc", "hotels_generic", 9, 3, 0.9, 4.40, "CAD", 0.320),
    Campaign("google", "cpc", "flights_generic", 6, 2, 0.85, 3.40, "CAD", 0.180),
    Campaign("google", "cpc", "winter_sun", 4, 2, 1.05, 3.80, "CAD", 0.160, _WINTER),
    Campaign("bing", "cpc", "hotels_generic", 2, 1, 0.95, 2.40, "USD", 0.060),
    Campaign("facebook", "paid_social", "summer_escapes", 5, 1.5, 0.7, 2.80, "CAD", 0.140, _SUMMER),
    Campaign("facebook", "paid_social", "retargeting", 1, 6, 1.1, 2.00, "CAD", 0.100),
    Campaign("instagram", "paid_social", "dream_places", 6, 1.5, 0.6, 2.60, "CAD", 0.140),
    Campaign("newsletter", "email", "weekly_deals", 3, 7, 1.2),
    Campaign("crm", "email", "price_alert", 1, 5, 1.4),
    Campaign("tripcompare", "affiliate", "meta_search", 6, 3, 1.1, 2.20, "USD", 0.140),
    Campaign("travelblog", "referral", None, 3, 1, 0.8),
    Campaign("partner_app", "push", "last_minute", 0.8, 1, 0.9),
)
EFFECT = np.array([one.effect for one in CAMPAIGNS])
PAID = np.array([one.cost_per_click > 0 for one in CAMPAIGNS])
UNSEEN_CLICKS = 0.12  # ad clicks that leave before they search, for each that does not
CLICK_THROUGH = {"cpc": 0.045, "paid_social": 0.011, "affiliate": 0.03}


def _mix(later: bool) -> NDArray[Any]:
    """Weights by month and campaign."""
    return np.array(
        [[(one.later if later else one.first) * (month in one.months) for one in CAMPAIGNS] for month in range(12)]
    )


_FIRST, _LATER = _mix(False), _mix(True)


def choose(draws: Draws, visits: Keys, days: Ints, first: NDArray[Any]) -> Ints:
    """The campaign that brought each visit."""
    unit, months = draws.uniform("campaign", visits), month_of(days)
    chosen = np.zeros(len(visits), dtype=np.int64)
    for month in np.unique(months):
        here = months == month
        chosen[here] = np.where(first[here], pick(unit[here], _FIRST[month]), pick(unit[here], _LATER[month]))
    return chosen


def json_fragments() -> pl.Series:
    """The utm fields of a search, ready for a JSON line, by campaign number."""
    encode = msgspec.json.encode
    return pl.Series(
        [
            f'"utm_source":{encode(one.source).decode()},"utm_medium":{encode(one.medium).decode()},'
            f'"utm_campaign":{encode(one.campaign).decode()}'
            for one in CAMPAIGNS
        ]
    )


def ad_spend(draws: Draws, days: Ints, campaigns: Ints, visits: Ints, site_visits: float) -> pl.DataFrame:
    """The ad-spend feed (CONTRACTS section 1): one row a day, source and campaign that brought `visits` visits.

    A campaign never spends more than its budget: when it would, clicks became cheaper that day.
    """
    keys = days.astype(np.uint64) * np.uint64(64) + campaigns.astype(np.uint64)
    unit = draws.uniform("unseen clicks", keys)
    clicks = visits + np.floor(visits * UNSEEN_CLICKS + unit).astype(np.int64)
    price = _by(campaigns, lambda one: one.cost_per_click) * np.exp(0.12 * draws.normal("click price", keys))
    budget = _by(campaigns, lambda one: one.budget) * site_visits
    rate = _by(campaigns, lambda one: CLICK_THROUGH.get(one.medium or "", 0.03))
    seen = np.ceil(clicks / (rate * np.exp(0.1 * draws.normal("impressions", keys)))).astype(np.int64)
    return pl.DataFrame(
        {
            "spend_date": pl.Series(days.astype(np.int32)).cast(pl.Date),
            "utm_source": [CAMPAIGNS[code].source for code in campaigns.tolist()],
            "utm_campaign": [CAMPAIGNS[code].campaign for code in campaigns.tolist()],
            "currency": [CAMPAIGNS[code].currency for code in campaigns.tolist()],
            "cost": np.round(np.minimum(clicks * price, np.maximum(budget, 0.01)), 2),
            "impressions": np.maximum(seen, clicks),
            "clicks": clicks,
        }
    )


def _by(campaigns: Ints, value: Callable[[Campaign], float]) -> Floats:
    return np.array([float(value(one)) for one in CAMPAIGNS])[campaigns]

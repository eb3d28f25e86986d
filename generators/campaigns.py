"""Campaigns, which bring visitors: sources, mediums and campaigns, their mix by month, their price and their true
effect.

Two things make a campaign's visitors book more, and only one is its merit. `readiness` is who comes: people who search
for the brand by name book more, with or without the ad. `lift` is what the touchpoint adds: see `cause`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from generators.calendar import month_of
from generators.draws import Draws, Floats, Ints, Keys, pick_by_row
from generators.places import DESTINATION_WARM, DESTINATION_WEIGHTS, PRODUCT_WEIGHTS

_ALWAYS = tuple(range(12))
_SUMMER, _WINTER = (3, 4, 5, 6), (9, 10, 11, 0, 1)
_HOTELS, _FLIGHTS, _PACKAGES = (1.9, 0.03, 0.6, 0.05), (0.03, 2.8, 0.7, 0.1), (0.7, 0.8, 4, 0.3)  # what is advertised


class Campaign(NamedTuple):
    """One combination of utm_source, utm_medium and utm_campaign (all None: direct)."""

    source: str | None
    medium: str | None
    campaign: str | None
    first: float  # weight for the first visit of a trip
    later: float  # weight for the visits after it
    readiness: float = 1.0  # how much likelier its visitors are to book, whichever campaign brings them
    lift: float = 0.0  # what each of its touchpoints adds to the chance of a booking later in the trip, in parts of it
    cost_per_click: float = 0.0
    currency: str = "CAD"
    budget: float = 0.0  # a day, for each visit a day that the whole site has
    months: tuple[int, ...] = _ALWAYS
    products: tuple[float, ...] = (1, 1, 1, 1)  # how much readier it brings hotel, flight, package and car trips
    elsewhere: float = 1.0  # the same for trips to places that are not warm
    phones: float = 0.0  # of those whom it would find at a computer, how many it finds on a phone
    mailed: bool = False  # only to those with an account that allows it; the others come by themselves


CAMPAIGNS = (
    Campaign(None, None, None, 17.5, 28, 1.15, 0.00),
    Campaign("google", "organic", None, 24, 16, 1.0, 0.10),
    Campaign("bing", "organic", None, 3, 2, 1.0, 0.10),
    Campaign("google", "cpc", "brand", 5, 6, 1.3, 0.05, 1.96, "CAD", 0.60),
    Campaign("google", "cpc", "hotels_generic", 9, 3, 0.9, 0.45, 6.16, "CAD", 1.60, products=_HOTELS),
    Campaign("google", "cpc", "flights_generic", 6, 2, 0.85, 0.40, 4.76, "CAD", 0.90, products=_FLIGHTS),
    Campaign("google", "cpc", "winter_sun", 4, 2, 1.05, 0.60, 5.32, "CAD", 0.80, _WINTER, _PACKAGES, 0.05),
    Campaign("bing", "cpc", "hotels_generic", 2, 1, 0.95, 0.50, 3.36, "USD", 0.30, products=_HOTELS),
    Campaign("facebook", "paid_social", "summer_escapes", 5, 1.5, 0.7, 0.35, 3.92, "CAD", 0.70, _SUMMER, phones=0.6),
    Campaign("facebook", "paid_social", "retargeting", 1, 6, 1.1, 0.10, 2.80, "CAD", 0.50, phones=0.4),
    Campaign("instagram", "paid_social", "dream_places", 6, 1.5, 0.6, 0.30, 3.64, "CAD", 0.70, phones=0.85),
    Campaign("newsletter", "email", "weekly_deals", 6.5, 15, 1.2, 0.40, mailed=True),
    Campaign("crm", "email", "price_alert", 2, 11, 1.4, 0.80, mailed=True),
    Campaign("tripcompare", "affiliate", "meta_search", 6, 3, 1.1, 0.55, 3.08, "USD", 0.70),
    Campaign("travelblog", "referral", None, 3, 1, 0.8, 0.30),
    Campaign("partner_app", "push", "last_minute", 0.8, 1, 0.9, 0.35, phones=1.0),
)
READINESS = np.array([one.readiness for one in CAMPAIGNS])
LIFT = np.array([round(1000 * one.lift) for one in CAMPAIGNS])
"""The lifts in thousandths: sums of whole numbers do not depend on the order, so neither do events on how a range is
cut."""
NO_ONE = -1  # the cause of a booking that would have happened anyway
TOUCH_BITS = 6  # a trip's campaigns are packed into one number, first visit lowest
MOST_TOUCHES = 8
PHONES = np.array([one.phones for one in CAMPAIGNS])
MAILED = np.array([one.mailed for one in CAMPAIGNS])
DIRECT = 0
PAID = np.array([one.cost_per_click > 0 for one in CAMPAIGNS])
UNSEEN_CLICKS = 2.5  # ad clicks that leave before they search, for each that does not: seven in ten bounce
CLICK_THROUGH = {"cpc": 0.045, "paid_social": 0.011, "affiliate": 0.03}


def _kind(products: Ints, destinations: Ints) -> Ints:
    """Return what a trip is to advertising: its product, and whether it goes to a warm place."""
    return np.asarray(products * 2 + DESTINATION_WARM[destinations])


def _mix(later: bool) -> NDArray[Any]:
    """Return weights by month and kind of trip (rows) and campaign. What advertises a product has its weight on
    average."""
    warm = DESTINATION_WEIGHTS[DESTINATION_WARM].sum() / DESTINATION_WEIGHTS.sum()
    share = np.outer(PRODUCT_WEIGHTS / PRODUCT_WEIGHTS.sum(), [1 - warm, warm]).ravel()
    fits = np.array([np.outer(one.products, [one.elsewhere, 1]).ravel() for one in CAMPAIGNS])
    fits /= (fits * share).sum(axis=1, keepdims=True)
    weights = np.array([one.later if later else one.first for one in CAMPAIGNS])
    running = np.array([[month in one.months for one in CAMPAIGNS] for month in range(12)])
    return np.asarray(running[:, np.newaxis, :] * (weights[:, np.newaxis] * fits).T).reshape(-1, len(CAMPAIGNS))


_MIX = np.concatenate((_mix(False), _mix(True)))


def choose(draws: Draws, visits: Keys, days: Ints, first: NDArray[Any], products: Ints, destinations: Ints) -> Ints:
    """Return the campaign that brought each visit, if its e-mail may be sent."""
    kinds = 2 * len(PRODUCT_WEIGHTS)
    rows = (np.where(first, 0, 12) + month_of(days)) * kinds + _kind(products, destinations)
    return pick_by_row(draws.uniform("campaign", visits), rows, _MIX)


def packed(campaigns: Ints, number: Ints) -> Ints:
    """Return each visit's campaign in its place (`number` counts from 0). The sum over visits is what `cause` unpacks."""
    return campaigns << (TOUCH_BITS * number)


def cause(unit: Floats, touched: Ints) -> Ints:
    """Return the campaign that truly caused each booking, or `NO_ONE`; `unit` is a uniform draw, `touched` the trip so
    far.

    The chance of a booking is proportional to 1 + the lifts of the trip's touchpoints so far. That is a sum of independent
    streams of bookings: without one touchpoint exactly its stream would be missing. So the cause is drawn in proportion
    to the lifts, and `NO_ONE` in proportion to the 1.
    """
    lifts = LIFT[np.stack([touched >> (TOUCH_BITS * n) & 63 for n in range(MOST_TOUCHES)])]
    sums = 1000 + np.cumsum(lifts, axis=0)
    target = unit * sums[-1]
    found = NO_ONE * np.ones(len(unit), dtype=np.int64)
    for n in reversed(range(MOST_TOUCHES)):
        here = (target >= sums[n] - lifts[n]) & (target < sums[n])
        found = np.where(here, touched >> (TOUCH_BITS * n) & 63, found)
    return found


def json_fragments() -> pl.Series:
    """Return the utm fields of a search, ready for a JSON line, by campaign number."""
    encode = msgspec.json.encode
    return pl.Series(
        [
            f'"utm_source":{encode(one.source).decode()},"utm_medium":{encode(one.medium).decode()},'
            f'"utm_campaign":{encode(one.campaign).decode()}'
            for one in CAMPAIGNS
        ]
    )


def ad_spend(draws: Draws, days: Ints, campaigns: Ints, visits: Ints, site_visits: float) -> pl.DataFrame:
    """Return the ad-spend feed (CONTRACTS section 1): one row for each day, source and campaign that brought `visits`
    visits.

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

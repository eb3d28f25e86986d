"""Offers in a list of results: which result of a destination, who offers it, and for how much."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from generators.calendar import month_of
from generators.draws import Draws, Floats, Ints, Keys
from generators.places import (
    CITY_COUNTRY,
    COUNTRY_RATE,
    DESTINATION_PRICE,
    PRODUCT_PRICE,
    PRODUCT_SPREAD,
    PROVIDERS,
    RESULTS,
    STAY_MONTHS,
)
from generators.settings import DAY_MS

FLIGHT = 1
LEVELS = np.array([NormalDist().inv_cdf((rank + 0.5) / RESULTS) for rank in range(RESULTS)])
"""The price level of each result of a destination among its like, from the cheapest on, in standard deviations."""
BETWEEN_LEVELS = (LEVELS[1:] + LEVELS[:-1]) / 2


@dataclass(frozen=True)
class Offers:
    """Results as numbers: which of its destination, which provider of its product, and the price in cents."""

    result: Ints
    provider: Ints
    price: Ints


def typical_price(product: Ints, destination: Ints, budget: Floats, city: Ints) -> Floats:
    """Return what a traveller of a city wants to pay for a product there."""
    local = COUNTRY_RATE[CITY_COUNTRY[city]]
    return np.asarray(PRODUCT_PRICE[product] * DESTINATION_PRICE[destination] * budget**0.5 * local)


def offered(draws: Draws, searches: pl.DataFrame, ids: Keys) -> Offers:
    """Return the result that stands at some place of each search (`ids`), priced within the search's filter.

    A result has one provider and one price level, whichever traveller looks. Those with more to spend look at
    more expensive ones.
    """
    product, destination, city, check_in, ts, budget, low, high = (
        searches[name].to_numpy()
        for name in ("product", "destination", "city", "check_in", "ts", "budget", "price_low", "price_high")
    )
    ahead = np.maximum(check_in - ts / DAY_MS, 0.0)
    usual = PRODUCT_PRICE[product] * DESTINATION_PRICE[destination] * COUNTRY_RATE[CITY_COUNTRY[city]]
    usual = usual * STAY_MONTHS[month_of(check_in)]
    # Seats that are left are expensive.
    usual = usual * np.where(product == FLIGHT, 0.97 + 0.35 * np.exp(-ahead / 20), 1.0)
    spread = PRODUCT_SPREAD[product]
    wanted = draws.normal("price", ids) + 0.25 * np.log(budget) / spread
    rank = np.searchsorted(BETWEEN_LEVELS, wanted)
    cheapest = np.where(low > 0, np.searchsorted(LEVELS, _level(low, usual, spread)), 0)
    dearest = np.where(high > 0, np.searchsorted(LEVELS, _level(high, usual, spread), side="right") - 1, RESULTS - 1)
    cheapest = np.clip(cheapest, 0, np.maximum(dearest, 0))
    choice = cheapest + np.floor(draws.uniform("in the filter", ids) * (dearest - cheapest + 1)).astype(np.int64)
    rank = np.where((rank < cheapest) | (rank > dearest), np.maximum(choice, 0), rank)
    price = np.floor(100 * usual * np.exp(spread * LEVELS[rank]) + 1e-6).astype(np.int64)
    own = (product * len(DESTINATION_PRICE) + destination) * RESULTS + rank
    provider = draws.below("provider", own, len(PROVIDERS[0]))
    return Offers(_shuffled(rank, destination), provider, np.maximum(price, 100))


def _level(price: Floats, usual: Floats, spread: Floats) -> Floats:
    """Return how high a price is, in standard deviations (prices of 0 are no limit)."""
    return np.asarray(np.log(np.maximum(price, 1e-9) / usual) / spread)


def _shuffled(rank: Ints, destination: Ints) -> Ints:
    """Return a number for each result of a destination that does not tell its price."""
    return np.asarray((rank * 157 + destination * 31) % RESULTS)

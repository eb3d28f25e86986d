"""Trips and the visits they take: who goes where, in how many sittings, over how many days."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from generators import campaigns
from generators.calendar import WEEKDAYS, Calendar, weekday
from generators.draws import Draws, Floats, Ints, Keys, pick_by_row
from generators.places import (
    BOT_CITY,
    DESTINATIONS,
    DESTINATIONS_FROM,
    NIGHT_WEIGHTS,
    NIGHTS,
    PRODUCT_WEIGHTS,
)
from generators.population import BOT, Population
from generators.settings import DAY_MS

VISITS = np.array([45, 22, 13, 8, 5, 4, 2, 1])  # 1 .. 8 visits a trip
SEARCHES = np.array([42, 25, 14, 8, 5, 3, 2, 1])  # 1 .. 8 searches a visit
BOT_SEARCHES = (40, 120)
JOURNEY_DAYS = 28
"""The longest journey in days, so that a day of visits needs the trips of this many days before it."""
LEAD_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
LEAD_DAYS = (2, 3, 15, 64, 146, 262, 315, 410, 600)
"""Quantiles of the days from the last visit to the stay, so that bookings have mean 104, median 69 and 90th percentile
265 days as in Antonio, Almeida and Nunes (2019), doi:10.1016/j.dib.2018.11.126. Two at the least: it may be tomorrow in UTC."""


Keep = Callable[[Draws, Ints], NDArray[np.bool_]]
"""Function that says which of some travellers are wanted."""


def trips(
    draws: Draws, population: Population, days: Ints, index: Ints, purpose: str = "trip", keep: Keep | None = None
) -> pl.DataFrame:
    """Return one row for each trip: trip number `index` of day `days`, of the travellers that `keep` wants (None: of
    all)."""
    keys = draws.bits(purpose, (days.astype(np.uint64) << np.uint64(32)) | index.astype(np.uint64))
    travellers = population.pick(days, keys)
    if keep is not None:  # now: who it is decides, and the rest need not be drawn for others
        wanted = keep(draws, travellers)
        keys, days, index, travellers = keys[wanted], days[wanted], index[wanted], travellers[wanted]
    habit = draws.uniform("trip habit", keys)
    city = population.city(travellers)
    favourite = population.favourite(travellers, draws.below("which favourite", keys, 3), city)
    product = np.where(
        habit < 0.6, population.usual_product(travellers), draws.choose("product", keys, PRODUCT_WEIGHTS)
    )
    destination = np.where(
        draws.uniform("known place", keys) < 0.45,
        favourite,
        pick_by_row(draws.uniform("destination", keys), city, DESTINATIONS_FROM),
    )
    return pl.DataFrame(
        {
            "trip": keys,
            "day": days,
            "index": index,
            "traveller": travellers,
            "destination": destination,
            "product": product,
            "lead": _lead(draws.uniform("lead", keys)),
            "nights": NIGHTS[draws.choose("nights", keys, NIGHT_WEIGHTS)],
            "party": 1 + draws.choose("party", keys, np.array([28, 46, 11, 11, 3, 1])),
            "of": 1 + draws.choose("visits", keys, VISITS),
        }
    )


def visits(draws: Draws, population: Population, calendar: Calendar, planned: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each visit of the planned trips, with its start (UTC, ms) and number of searches."""
    repeat = planned["of"].to_numpy()
    row = np.repeat(np.arange(len(planned)), repeat)
    made = planned[row]
    number = np.arange(len(row)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    keys = visit_keys(draws, made["trip"].to_numpy(), number)
    gap = np.where(number == 0, 0, 1 + np.floor(2.6 * draws.exponential("gap", keys)).astype(np.int64))
    first_day = made["day"].to_numpy()
    passed = np.minimum(running_sum(gap, repeat), JOURNEY_DAYS - 1)
    # A later visit that falls on a quiet weekday may wait for the next day.
    waits = draws.uniform("waits", keys) > WEEKDAYS[weekday(first_day + passed)] / WEEKDAYS.max()
    passed += waits & (number > 0)
    last = np.repeat(np.maximum.reduceat(passed, np.cumsum(repeat) - repeat), repeat) if len(row) else passed
    traits = population.traits(made["traveller"].to_numpy())
    start = calendar.local_times(first_day + passed, traits.city, draws.uniform("time", keys))
    brought = _brought(draws, population, made, keys, start, number)
    return made.select(
        pl.Series("visit", keys),
        pl.Series("start", start),
        "trip",
        "day",
        "traveller",
        pl.Series("number", number + 1),
        "of",
        "destination",
        "product",
        pl.Series("check_in", first_day + last + made["lead"].to_numpy()),  # the lead is that of the last visit
        "nights",
        "party",
        pl.Series("searches", 1 + draws.choose("visit searches", keys, SEARCHES)),
        pl.Series("campaign", brought),
        pl.Series("push", running_sum(campaigns.LIFT[brought], repeat)),  # the lifts of the trip so far
        pl.Series("touched", running_sum(campaigns.packed(brought, number), repeat)),
    )


def _brought(draws: Draws, population: Population, made: pl.DataFrame, keys: Keys, start: Ints, number: Ints) -> Ints:
    """Return the campaign of each visit. Who may not be mailed, and would have come by an e-mail, comes directly."""
    product, destination, traveller = (made[name].to_numpy() for name in ("product", "destination", "traveller"))
    brought = campaigns.choose(draws, keys, start // DAY_MS, number == 0, product, destination)
    mailed = np.flatnonzero(campaigns.MAILED[brought])
    refused = ~population.may_be_mailed(traveller[mailed], start[mailed])
    brought[mailed[refused]] = campaigns.DIRECT
    return brought


def whole_trips(draws: Draws, population: Population, calendar: Calendar, some: pl.DataFrame) -> pl.DataFrame:
    """Make all visits of the trips of `some` visits again."""
    planned = some.unique("trip", keep="first", maintain_order=True)
    lead = pl.Series("lead", _lead(draws.uniform("lead", planned["trip"].to_numpy())))
    return visits(draws, population, calendar, planned.with_columns(lead))


def visit_keys(draws: Draws, trips: Keys, number: Ints) -> Keys:
    """Return the key of each visit; `number` counts the visits of a trip from 0."""
    return draws.child("visit", trips, number)


def _lead(unit: Floats) -> Ints:
    return np.floor(np.interp(unit, LEAD_SHARES, LEAD_DAYS)).astype(np.int64)


def bot_visits(draws: Draws, days: Ints, index: Ints) -> pl.DataFrame:
    """Return visits of programs: a runaway number of searches in one session, at any hour."""
    keys = draws.bits("bot", (days.astype(np.uint64) << np.uint64(32)) | index.astype(np.uint64))
    low, high = BOT_SEARCHES
    return pl.DataFrame(
        {
            "visit": keys,
            "start": days * DAY_MS + draws.below("bot time", keys, DAY_MS),
            "trip": keys,
            "day": days,
            "traveller": BOT + draws.below("bot number", keys, 12),
            "number": np.ones_like(days),
            "of": np.ones_like(days),
            "destination": draws.below("bot destination", keys, len(DESTINATIONS)),
            "product": draws.below("bot product", keys, 2),
            "check_in": days + 14 + draws.below("bot lead", keys, 60),
            "nights": np.ones_like(days) * 2,
            "party": np.ones_like(days),
            "searches": low + draws.below("bot searches", keys, high - low + 1),
            **dict.fromkeys(("campaign", "push", "touched"), np.zeros_like(days)),
        }
    )


def home_city(population: Population, travellers: Ints) -> Ints:
    """Return where each traveller (or bot) searches from."""
    return np.where(travellers >= BOT, BOT_CITY, population.city(travellers))


def running_sum(values: Ints, lengths: Ints) -> Ints:
    """Return running sums that begin again in each group of `lengths` rows."""
    total = np.cumsum(values)
    before = np.concatenate(([0], total))[np.cumsum(lengths) - lengths]
    return np.asarray(total - np.repeat(before, lengths))

"""The life of a traveller on the site: new, active, lapsed, gone. A function of (seed, traveller, moment), nothing
stored.

A life begins on the day of joining and is a chain of spells: active, then lapsed, then active again if the traveller
comes back, and gone when the last lapse is over without a return. Who is loyal stays active longer and comes back more
often. No traveller acts while lapsed or gone: trips are only given to travellers who stay active until the trip is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.draws import Draws, Floats, Ints

NOT_YET, NEW, ACTIVE, LAPSED, GONE = range(5)
STATES = ("not_yet", "new", "active", "lapsed", "gone")
NEW_DAYS = 30
TRIP_SPAN = 40
"""The days from the first visit of a trip within which all of it has happened: 28 of visits, 7 to decide, and time
zones."""
SHORTEST_ACTIVE = 90
MEAN_ACTIVE_BEYOND = 190  # days, on top of the shortest; loyal travellers three times those who are not
LAPSE_DAYS = (90, 300)
MOST_RETURNS = 6
WINDOW_DAYS = 3 * 365
"""The days before the start of history within which its travellers joined; earlier ones are not part of it."""


@dataclass(frozen=True)
class Life:
    """The lengths of a traveller's spells (days): `spells` times active, each followed by a lapse."""

    active: Floats
    lapse: Floats
    spells: Floats


def life(draws: Draws, travellers: Ints, loyalty: Floats) -> Life:
    """Return how each traveller's life on the site will go."""
    low, high = LAPSE_DAYS
    # A traveller who returns with probability p after each lapse has 1 + geometric(p) active spells.
    returning = 0.25 + 0.6 * loyalty
    returns = np.floor(np.log1p(-draws.uniform("returns", travellers)) / np.log(returning))
    return Life(
        active=SHORTEST_ACTIVE
        + MEAN_ACTIVE_BEYOND * (0.5 + loyalty) * np.minimum(draws.exponential("active days", travellers), 8),
        lapse=low + (high - low) * draws.uniform("lapse days", travellers),
        spells=1 + np.minimum(returns, MOST_RETURNS),
    )


def states(life: Life, age: Floats) -> Ints:
    """Return the state of each traveller who joined `age` days ago (negative: who has yet to join)."""
    cycle = life.active + life.lapse
    spell = np.floor(age / cycle)
    state = np.where(age - spell * cycle < life.active, ACTIVE, LAPSED)
    state = np.where(age < NEW_DAYS, NEW, state)
    return np.where(age < 0, NOT_YET, np.where(spell >= life.spells, GONE, state))


def can_travel(life: Life, age: Floats) -> NDArray[np.bool_]:
    """Return whether a trip that begins at `age` is over before the active spell is."""
    cycle = life.active + life.lapse
    spell = np.floor(age / cycle)
    return np.asarray((age >= 0) & (spell < life.spells) & (age - spell * cycle + TRIP_SPAN <= life.active))


@dataclass(frozen=True)
class Joining:
    """The order in which travellers join: they are numbered in the order of joining, at a rate that grows with the
    site."""

    start_day: int
    at_start: int  # joined within `WINDOW_DAYS` before the start
    growth: float  # a year

    @property
    def _slope(self) -> float:
        """Return the growth in a day, in exponential terms (never quite 0, which would need other formulas)."""
        slope = math.log1p(self.growth) / 365.25
        return slope if abs(slope) > 1e-9 else 1e-9

    @property
    def per_day(self) -> float:
        """Return how many new travellers join in a day at the start of history."""
        return self.at_start * self._slope / -math.expm1(-self._slope * WINDOW_DAYS)

    def count(self, days: NDArray[Any]) -> Ints:
        """Return how many have joined by the start of each day."""
        past = math.exp(-self._slope * WINDOW_DAYS)
        since = np.maximum(days - self.start_day, -WINDOW_DAYS)
        return np.floor(self.per_day / self._slope * (np.exp(self._slope * since) - past)).astype(np.int64)

    def day(self, places: Floats) -> Floats:
        """Return when the traveller at each place in the order joined (days since 1970, with a fraction)."""
        past = math.exp(-self._slope * WINDOW_DAYS)
        return np.asarray(self.start_day + np.log(places * self._slope / self.per_day + past) / self._slope)

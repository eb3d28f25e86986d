"""Who travels: a population of persistent people, each a function of (seed, traveller number).

Nobody is stored. New travellers join every day, old ones fall silent, and one in ten travels far more than the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.draws import Draws, Floats, Ints, Keys
from generators.places import CITY_WEIGHTS, DESTINATION_WEIGHTS, DEVICE_WEIGHTS, PRODUCT_WEIGHTS
from generators.settings import DAY_MS, SimulationSettings

TRIPS_PER_YEAR = 2.6
JOINING_PER_YEAR = 0.4  # new travellers a year, as a share of the population at the start
LEAVING = 0.5  # of the number that join
FREQUENT_EVERY = 10  # every tenth traveller is a frequent one
NEWCOMER_DAYS = 10
BOT = 1 << 31
"""Traveller numbers from here on are bots."""


@dataclass(frozen=True)
class Traits:
    """What stays the same about each traveller."""

    city: Ints
    device: Ints
    second_device: Ints
    budget: Floats  # against the average
    registered: NDArray[np.bool_]
    frequent: NDArray[np.bool_]


class Population:
    """Picks travellers for trips and knows their traits."""

    def __init__(self, settings: SimulationSettings, draws: Draws, trips_per_day: float) -> None:
        self._settings, self._draws = settings, draws
        self.at_start = settings.travellers or max(60, round(trips_per_day * 365 / TRIPS_PER_YEAR))
        self.joining = self.at_start * JOINING_PER_YEAR / 365
        # Half of the anonymous visits come from people without an account, half from people who did not log in.
        self.registered_share = 1 - settings.funnel.anonymous_share / 2
        self.anonymous_when_registered = settings.funnel.anonymous_share / 2 / self.registered_share

    def size(self, days: NDArray[Any]) -> Ints:
        """How many travellers have ever joined, one day before (so that nobody acts before joining)."""
        since = np.maximum(days - self._settings.start_day - 1, 0)
        return self.at_start + np.floor(self.joining * since).astype(np.int64)

    def pick(self, days: Ints, trips: Keys) -> Ints:
        """The traveller of each trip: newcomers, frequent travellers and everybody else."""
        newest = self.size(days)
        left = np.floor(self.joining * LEAVING * np.maximum(days - self._settings.start_day, 0)).astype(np.int64)
        kind, place = self._draws.uniform("kind", trips), self._draws.uniform("traveller", trips)
        recent = newest - 1 - np.floor(place * max(1.0, self.joining * NEWCOMER_DAYS)).astype(np.int64)
        anyone = left + np.floor(place * (newest - left)).astype(np.int64)
        frequent = anyone - anyone % FREQUENT_EVERY
        return np.maximum(np.where(kind < 0.08, recent, np.where(kind < 0.42, frequent, anyone)), 0)

    def traits(self, travellers: Ints) -> Traits:
        """What is always true of each traveller."""
        draws = self._draws
        return Traits(
            city=draws.choose("city", travellers, CITY_WEIGHTS),
            device=draws.choose("device", travellers, DEVICE_WEIGHTS),
            second_device=draws.choose("second device", travellers, DEVICE_WEIGHTS),
            budget=np.exp(0.4 * draws.normal("budget", travellers)),
            registered=draws.uniform("registered", travellers) < self.registered_share,
            frequent=travellers % FREQUENT_EVERY == 0,
        )

    def favourite(self, travellers: Ints, which: Ints) -> Ints:
        """One of the three favourite destinations of each traveller (`which` is 0, 1 or 2)."""
        keys = travellers.astype(np.uint64) * np.uint64(4) + which.astype(np.uint64)
        return self._draws.choose("favourite", keys, DESTINATION_WEIGHTS)

    def usual_product(self, travellers: Ints) -> Ints:
        """What each traveller mostly books."""
        return self._draws.choose("usual product", travellers, PRODUCT_WEIGHTS)

    def joined(self, travellers: Ints) -> Ints:
        """When each traveller opened an account (ms). Those of the start came in the three years before."""
        age = self._draws.uniform("age", travellers)
        before = self._settings.start_ms - 1 - np.floor(age**1.5 * 3 * 365 * DAY_MS).astype(np.int64)
        after = self._settings.start_ms + np.floor(
            (travellers - self.at_start + age) / max(self.joining, 1e-9) * DAY_MS
        ).astype(np.int64)
        return np.where(travellers < self.at_start, before, after)

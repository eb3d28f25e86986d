"""The population that travels: persistent people, each a function of (seed, traveller number).

No traveller is stored. They are numbered in the order in which they joined (see `lifecycle`); one in ten is frequent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators import lifecycle
from generators.draws import Draws, Floats, Ints, Keys, pick_by_row
from generators.places import (
    ANDROID_PHONE,
    CITIES,
    CITY_WEIGHTS,
    COMPUTER,
    DESTINATIONS_FROM,
    DEVICE_WEIGHTS,
    IOS_DEVICES,
    PRODUCT_WEIGHTS,
)
from generators.settings import DAY_MS, SimulationSettings

TRIPS_PER_YEAR = 2.6  # a traveller of the population, whatever the state; an active one plans about twice as many
FREQUENT_EVERY = 10  # every tenth traveller is a frequent one
NEWCOMER_DAYS = 10
NEWCOMER_TRIPS, FREQUENT_TRIPS = (
    0.14,
    0.30,
)  # shares of all trips; all travellers, these two kinds included, share the rest
FEWEST_JOINING = 0.05  # a day, in the smallest of worlds: some traveller is always new, and can travel
PROFILE_VERSIONS = 4  # the first, and up to three changes
DAYS_BETWEEN_CHANGES = 420
CONSENTING = 0.58  # to e-mail
FRENCH_IN_QUEBEC, FRENCH_ELSEWHERE = 0.8, 0.04  # of Canadians, in their language's cities and in the others
TRIES = 16  # to find a traveller who can travel; after that the newest traveller goes
BOT = 1 << 31
"""The first traveller number of bots: those from here on are bots."""


@dataclass(frozen=True)
class Traits:
    """The traits that stay the same about each traveller."""

    city: Ints
    device: Ints
    second_device: Ints
    budget: Floats  # against the average
    loyalty: Floats  # 0 .. 1
    registered: NDArray[np.bool_]


class Population:
    """A population that picks travellers for trips and knows their traits."""

    def __init__(self, settings: SimulationSettings, draws: Draws, trips_per_day: float) -> None:
        self._settings, self._draws = settings, draws
        self.at_start = max(
            settings.travellers or round(trips_per_day * 365 / TRIPS_PER_YEAR),
            round(FEWEST_JOINING * lifecycle.WINDOW_DAYS),
        )
        self._joining = lifecycle.Joining(settings.start_day, self.at_start, settings.growth)
        # Half of the anonymous visits come from people without an account, half from people who did not log in.
        self.registered_share = 1 - settings.funnel.anonymous_share / 2
        self.anonymous_when_registered = settings.funnel.anonymous_share / 2 / self.registered_share

    def size(self, days: NDArray[Any]) -> Ints:
        """Return how many travellers have ever joined, one day before (so that no traveller acts before joining)."""
        return np.maximum(self._joining.count(days - 1), 1)

    def pick(self, days: Ints, trips: Keys) -> Ints:
        """Return the traveller of each trip: newcomers, frequent travellers and all others, if they can travel."""
        chosen = self.size(days) - 1
        open_ = np.arange(len(days))
        for attempt in range(TRIES):
            if not len(open_):
                break
            candidates = self._candidates(days[open_], self._draws.child("pick", trips[open_], np.full(1, attempt)))
            able = self.can_travel(candidates, days[open_])
            chosen[open_[able]] = candidates[able]
            open_ = open_[~able]
        return chosen

    def _candidates(self, days: Ints, keys: Keys) -> Ints:
        kind, place = self._draws.uniform("kind", keys), self._draws.uniform("traveller", keys)
        newest = self.size(days)
        newcomers = np.maximum(newest - self._joining.count(days - 1 - NEWCOMER_DAYS), 1)
        recent = newest - 1 - np.floor(place * newcomers).astype(np.int64)
        anyone = np.floor(place * newest).astype(np.int64)
        frequent = anyone - anyone % FREQUENT_EVERY
        return np.where(
            kind < NEWCOMER_TRIPS, recent, np.where(kind < NEWCOMER_TRIPS + FREQUENT_TRIPS, frequent, anyone)
        )

    def loyalty(self, travellers: Ints) -> Floats:
        """Return the loyalty, from 0 (bargain hunter) to 1 (never looks elsewhere). The frequent are loyal."""
        unit = self._draws.uniform("loyalty", travellers)
        return np.asarray(np.where(travellers % FREQUENT_EVERY == 0, 0.6 + 0.4 * unit, 0.7 * unit))

    def life(self, travellers: Ints) -> lifecycle.Life:
        """Return the spells of each traveller's life on the site."""
        return lifecycle.life(self._draws, travellers, self.loyalty(travellers))

    def can_travel(self, travellers: Ints, days: Ints) -> NDArray[np.bool_]:
        """Return whether each traveller may begin a trip on local day `days`, which may be the UTC day before."""
        return lifecycle.can_travel(self.life(travellers), days - 1 - self.joined(travellers) / DAY_MS)

    def state(self, travellers: Ints, days: NDArray[Any]) -> Ints:
        """Return each traveller's state (a number of `lifecycle.STATES`) at a moment, in days since 1970 with
        fractions."""
        return lifecycle.states(self.life(travellers), days - self.joined(travellers) / DAY_MS)

    def traits(self, travellers: Ints) -> Traits:
        """Return what is always true of each traveller."""
        draws = self._draws
        device, second = (draws.choose(name, travellers, DEVICE_WEIGHTS) for name in ("device", "second device"))
        # Hardly any traveller has an iPhone and an Android phone.
        two_makes = (IOS_DEVICES[device] & (second == ANDROID_PHONE)) | (
            (device == ANDROID_PHONE) & IOS_DEVICES[second]
        )
        return Traits(
            city=self.city(travellers),
            device=device,
            second_device=np.where(two_makes, COMPUTER, second),
            budget=np.exp(0.4 * draws.normal("budget", travellers)),
            loyalty=self.loyalty(travellers),
            registered=self._registered(travellers),
        )

    def city(self, travellers: Ints) -> Ints:
        """Return where each traveller lives."""
        return self._draws.choose("city", travellers, CITY_WEIGHTS)

    def favourite(self, travellers: Ints, which: Ints, city: Ints) -> Ints:
        """Return one of the three favourite destinations of each traveller (`which` is 0, 1 or 2)."""
        keys = travellers.astype(np.uint64) * np.uint64(4) + which.astype(np.uint64)
        return pick_by_row(self._draws.uniform("favourite", keys), city, DESTINATIONS_FROM)

    def speaks_french(self, travellers: Ints, city: Ints) -> NDArray[np.bool_]:
        """Return whether each traveller searches in French, which is also the language of the profile."""
        share = np.array(
            [
                1.0
                if one.country == "FR"
                else (one.country == "CA") * (FRENCH_IN_QUEBEC if one.french else FRENCH_ELSEWHERE)
                for one in CITIES
            ]
        )
        return np.asarray(self._draws.uniform("language", travellers) < share[city])

    def usual_product(self, travellers: Ints) -> Ints:
        """Return what each traveller mostly books."""
        return self._draws.choose("usual product", travellers, PRODUCT_WEIGHTS)

    def profile_changes(self, travellers: Ints) -> Ints:
        """Return when each version of each profile came (ms): one row for each traveller, one column for each version."""
        columns = [self.joined(travellers)]
        for version in range(1, PROFILE_VERSIONS):
            wait = self._draws.exponential(f"profile change {version}", travellers) * DAYS_BETWEEN_CHANGES + 0.01
            columns.append(columns[-1] + (wait * DAY_MS).astype(np.int64))
        return np.stack(columns, axis=1)

    def consents(self, travellers: Ints, version: Ints) -> NDArray[np.bool_]:
        """Return whether that version of each profile (counted from 0) allows e-mail. Half of the changes concern it."""
        keys = travellers * PROFILE_VERSIONS + version
        changes = self._draws.uniform("consent changes", keys) < 0.5
        decided = np.where(changes, keys, travellers * PROFILE_VERSIONS)
        return np.asarray(self._draws.uniform("consent", decided) < CONSENTING)

    def may_be_mailed(self, travellers: Ints, at: Ints) -> NDArray[np.bool_]:
        """Return whether each traveller has an account that allows e-mail at a moment (ms)."""
        version = (self.profile_changes(travellers)[:, 1:] <= at[:, np.newaxis]).sum(axis=1)
        return np.asarray(self._registered(travellers) & self.consents(travellers, version))

    def _registered(self, travellers: Ints) -> NDArray[np.bool_]:
        return np.asarray(self._draws.uniform("registered", travellers) < self.registered_share)

    def joined(self, travellers: Ints) -> Ints:
        """Return when each traveller joined, with an account or without (ms)."""
        place = travellers + self._draws.uniform("age", travellers)
        return np.floor(self._joining.day(place) * DAY_MS).astype(np.int64)

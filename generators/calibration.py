"""Calibration, which makes the settings true: a sample of trips is measured once, and gives the funnel's factors and
the number of trips."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from generators import journeys
from generators.calendar import Calendar, weekday
from generators.draws import Draws, Floats, Ints, Keys
from generators.funnel import MAX_CLICKS, MOST_LIKELY, Funnel, Rates
from generators.population import Population
from generators.settings import DAY_MS, FunnelSettings, SimulationSettings, milliseconds
from searchflow.errors import UsageError

SAMPLE = 24_500
EXACT = 40  # means below this have their Poisson quantile from the sum of probabilities
CLICKS_A_SEARCH = float((MAX_CLICKS * np.arange(1, 5)).sum() / MAX_CLICKS.sum())
_LAGS = 45  # days after the first visit within which everything of a trip has happened
_APART = 71  # the sample begins on seven days so far apart: each weekday once, over a whole year


@dataclass(frozen=True)
class Measured:
    """The measures of one average trip."""

    rates: Rates
    events: float
    searches: float
    visits: float
    by_lag: Floats  # events of a trip by the weekday it begins on and the days since then, from -1 on
    moments: Ints  # arrival times of the sample (ms), for the rhythm of a day


def measure(settings: SimulationSettings, draws: Draws, calendar: Calendar) -> Measured:
    """Run a sample of trips through the funnel and choose its factors."""
    population = Population(settings, draws, trips_per_day=1000.0)
    days = settings.start_day + _APART * (np.arange(SAMPLE) % 7)
    planned = journeys.trips(draws, population, days, np.arange(SAMPLE), purpose="calibration trip")
    visits = journeys.visits(draws, population, calendar, planned)
    funnel = Funnel(settings, draws, population, calendar, Rates())
    searches = funnel.searches(visits)
    # Bots search without clicking, or click without booking: people make up for them.
    wanted, bots = settings.funnel, settings.faults
    by_people = max(wanted.click_rate - bots.clicking_bots, 0.0)
    click = _factor(funnel.click_weight(searches), by_people / (1 - bots.bots), 0.95)
    funnel.rates = Rates(click=click)
    clicks = funnel.clicks(searches)
    booking = _booking_factor(
        funnel.booking_weight(clicks), funnel.trip_products(clicks), wanted,
        wanted.conversion_rate * wanted.click_rate / (by_people or 1.0),
    )  # fmt: skip
    funnel.rates = Rates(click=click, booking=booking)
    arrivals = np.concatenate([frame["arrival"].to_numpy() for frame in (searches, clicks, funnel.conversions(clicks))])
    since = arrivals // DAY_MS - settings.start_day + 1
    lags = np.minimum(since % _APART, _LAGS - 1)
    weekdays = weekday(settings.start_day + since // _APART * _APART)
    by_lag = np.bincount(weekdays * _LAGS + lags, minlength=7 * _LAGS).reshape(7, _LAGS) / (SAMPLE / 7)
    return Measured(
        rates=funnel.rates,
        events=len(arrivals) / SAMPLE,
        searches=len(searches) / SAMPLE,
        visits=len(visits) / SAMPLE,
        by_lag=by_lag,
        moments=arrivals,
    )


def _factor(weights: Floats, rate: float, most: float) -> float:
    """Return the factor with which `weights`, capped at `most`, have the mean `rate`."""
    if rate == 0 or not len(weights):
        return 0.0
    factor = rate / max(float(weights.mean()), 1e-9)
    for _ in range(30):
        mean = float(np.minimum(weights * factor, most).mean())
        factor *= rate / max(mean, 1e-9)
    return factor


def _booking_factor(weights: Floats, groups: Keys, wanted: FunnelSettings, rate: float) -> float:
    """Return the factor for bookings: of a trip and product (`groups`) one decision counts, and `books_again` of all.

    Raises:
        UsageError: even if every traveller booked, there would not be as many bookings.
    """
    if rate == 0 or not len(weights):
        return 0.0
    number = np.unique(groups, return_inverse=True)[1]

    def mean(factor: float) -> float:
        chance = np.minimum(weights * factor, MOST_LIKELY)
        none = np.bincount(number, weights=np.log1p(-chance * (1 - wanted.books_again)))
        return float(wanted.books_again * chance.sum() - np.expm1(none).sum()) / len(weights)

    low, high = 0.0, 1e6
    if mean(high) < rate:
        most = wanted.conversion_rate * mean(high) / rate
        raise UsageError(
            f"conversion_rate {wanted.conversion_rate} cannot be reached, since bots book nothing and a trip books a product "
            f"once: {most:.2f} at most here. Choose a lower one, or more of books_again."
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < rate else (low, middle)
    return high


class Traffic:
    """The numbers of trips (and visits of bots) that begin on each day."""

    def __init__(self, settings: SimulationSettings, draws: Draws, calendar: Calendar, measured: Measured) -> None:
        self._settings, self._draws, self._calendar = settings, draws, calendar
        bots = settings.faults
        per_search = 1 + CLICKS_A_SEARCH * bots.clicking_share_of_bots
        per_session = sum(journeys.BOT_SEARCHES) / 2 * per_search
        share = bots.bots / (1 - bots.bots) * measured.searches / measured.events * per_search
        people = settings.events_per_day / (1 + share)  # events a day that are not of bots
        self.bots_per_day = (settings.events_per_day - people) / per_session
        self.trips_per_day = people / measured.events
        self.visits_per_day = self.trips_per_day * measured.visits
        self._base = self._normalize(measured, people)

    def trips(self, days: Ints) -> Ints:
        """Return how many trips begin on each day."""
        return poisson(self._base * self._calendar.weight(days), self._draws.uniform("arrivals", days))

    def bots(self, days: Ints) -> Ints:
        """Return how many visits of bots there are on each day."""
        phase = self._draws.uniform("bot phase", np.zeros(1, dtype=np.int64))
        since = days - self._settings.start_day
        return (np.floor((since + 1) * self.bots_per_day + phase) - np.floor(since * self.bots_per_day + phase)).astype(
            np.int64
        )

    def _normalize(self, measured: Measured, people: float) -> float:
        """Return the base at which the normalized range holds the wanted number of events (it only ever grows with
        it)."""
        settings = self._settings
        end = milliseconds(settings.normalized_until)
        last = end // DAY_MS
        share = np.ones(last - settings.start_day + 1)
        alike = measured.moments[(measured.moments // DAY_MS - last) % 7 == 0]
        share[-1] = np.mean(alike % DAY_MS <= end % DAY_MS)
        days = np.arange(settings.start_day - _LAGS, last + 2)
        inside = np.concatenate((np.zeros(_LAGS), share, np.zeros(_LAGS + 1)))
        # Event day d + lag - 1 of a trip of day d, for each lag, weighted with the part of that day in the range.
        lags = measured.by_lag[weekday(days)]
        reach = np.array([lags[index] @ _shifted(inside, index, _LAGS) for index in range(len(days))])
        target = people * (end - settings.start_ms) / DAY_MS
        weight, unit = self._calendar.weight(days), self._draws.uniform("arrivals", days)
        low, high = 0.0, 4 * self.trips_per_day
        while float(poisson(high * weight, unit) @ reach) < target:
            high *= 2
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if float(poisson(middle * weight, unit) @ reach) < target else (low, middle)
        return high


def poisson(mean: Floats, unit: Floats) -> Ints:
    """Return the quantile at `unit` of the Poisson distribution with each mean. Grows with the mean, for the same
    `unit`.

    Exact for small means; from `EXACT` on by the expansion of Cornish and Fisher, which is off by less than one.
    """
    normal = np.array([NormalDist().inv_cdf(min(max(one, 1e-12), 1 - 1e-12)) for one in unit.tolist()])
    root = np.sqrt(np.maximum(mean, 1e-12))
    around = mean + root * normal + (normal**2 - 1) / 6 + (normal - normal**3) / (72 * root)
    found = np.maximum(np.floor(around + 0.5), 0).astype(np.int64)
    small = np.flatnonzero(mean < EXACT)
    if len(small):
        count = np.arange(4 * EXACT)
        logs = np.concatenate(([0.0], np.cumsum(np.log(count[1:]))))
        rate = np.maximum(mean[small], 1e-12)[:, np.newaxis]
        below = np.cumsum(np.exp(count * np.log(rate) - rate - logs), axis=1)
        found[small] = (below < unit[small, np.newaxis]).sum(axis=1)
    return found


def _shifted(values: Floats, index: int, length: int) -> Floats:
    """Return `length` values from `index - 1` on, zero outside."""
    found = np.zeros(length)
    first = max(index - 1, 0)
    part = values[first : max(index - 1 + length, 0)]
    found[first - (index - 1) : first - (index - 1) + len(part)] = part
    return found

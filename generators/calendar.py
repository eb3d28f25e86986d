"""The calendar of travel shopping: growth, season, weekday, public holidays and the local hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import holidays
import numpy as np
from numpy.typing import NDArray

from generators.draws import Draws, Floats, Ints
from generators.places import CITIES, CITY_COUNTRY, CITY_WEIGHTS, CITY_ZONE, COUNTRIES, ZONES
from generators.settings import DAY_MS, SimulationSettings
from searchflow import zones

# January and February are for planning summer, late summer for a second trip; December is quiet.
MONTHS = np.array([1.22, 1.14, 1.06, 1.0, 1.02, 1.08, 1.12, 1.04, 0.92, 0.88, 0.86, 0.72])
WEEKDAYS = np.array([1.08, 1.05, 1.03, 0.99, 0.9, 0.87, 1.08])  # Monday first
HOLIDAY_SHARE_LOST = 0.25
_BLOCK_DAYS = 512  # of time zone offsets, worked out at once
_QUARTER_MS = 900_000
WORKDAY_HOURS = np.array([6, 3, 2, 1.5, 1.5, 3, 8, 16, 25, 30, 32, 34, 40, 36, 32, 31, 31, 33, 36, 44, 52, 50, 36, 17])
WEEKEND_HOURS = np.array([9, 5, 3, 2, 1.5, 2, 4, 9, 18, 30, 39, 42, 42, 42, 42, 41, 40, 40, 41, 46, 50, 46, 33, 18])


class Calendar:
    """Weights of days and times of day, as functions of the day number (days since 1970)."""

    def __init__(self, settings: SimulationSettings, draws: Draws) -> None:
        self._settings, self._draws = settings, draws

    def weight(self, days: Ints) -> Floats:
        """Return how busy a day is, against an average one at the start of history."""
        dates = days.astype("datetime64[D]")
        growth = (1.0 + self._settings.growth) ** ((days - self._settings.start_day) / 365.25)
        months = dates.astype("datetime64[M]")
        within = (dates - months.astype("datetime64[D]")).astype(np.int64) / 30.5
        month = months.astype(np.int64) % 12
        season = MONTHS[month] * (1 - within) + MONTHS[(month + 1) % 12] * within
        weather = np.exp(0.05 * self._draws.normal("weather", days))  # news, strikes, a viral video
        return np.asarray(
            growth * season * WEEKDAYS[weekday(days)] * (1 - HOLIDAY_SHARE_LOST * _at_home(days)) * weather
        )

    def local_times(self, days: Ints, cities: Ints, unit: Floats) -> Ints:
        """Return the UTC moments (ms) at quantile `unit` of the local day of each city."""
        weekend = weekday(days) >= 5
        hour = np.where(weekend, _quantile(unit, WEEKEND_HOURS), _quantile(unit, WORKDAY_HOURS))
        return days * DAY_MS + np.floor(hour * 3_600_000).astype(np.int64) - _offsets(days, cities)


def weekday(days: Ints) -> Ints:
    """Return the weekday, 0 for Monday."""
    return np.asarray((days + 3) % 7)


def month_of(days: Ints) -> Ints:
    """Return the month, 0 for January."""
    return np.asarray(days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12)


def _quantile(unit: Floats, weights: NDArray[Any]) -> Floats:
    cumulative = np.concatenate(([0.0], np.cumsum(weights)))
    return np.interp(unit, cumulative / cumulative[-1], np.arange(25.0))


def _at_home(days: Ints) -> Floats:
    """Return the share of the population that has a public holiday."""
    years = np.unique(days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970)
    share = np.zeros(len(days))
    for index, country in enumerate(COUNTRIES):
        home = CITY_WEIGHTS[index == CITY_COUNTRY].sum() / CITY_WEIGHTS.sum()
        share += home * np.isin(days, np.concatenate([_holidays(country.code, int(year)) for year in years]))
    return share


@lru_cache(maxsize=1024)
def _holidays(country: str, year: int) -> Ints:
    epoch = date(1970, 1, 1)
    return np.array([(day - epoch).days for day in holidays.country_holidays(country, years=year)], dtype=np.int64)


def _offsets(days: Ints, cities: Ints) -> Ints:
    """Return the milliseconds that local time is ahead of UTC at noon of the day, in each city."""
    if not len(days):
        return np.zeros(0, dtype=np.int64)
    first, last = int(days.min()) // _BLOCK_DAYS, int(days.max()) // _BLOCK_DAYS
    table = np.hstack([_offset_table(block) for block in range(first, last + 1)])
    return np.asarray(table[CITY_ZONE[cities], days - first * _BLOCK_DAYS])


@lru_cache(maxsize=64)
def _offset_table(block: int) -> Ints:
    """Return the offsets of every zone (rows) on the days of one block (columns)."""
    first = date(1970, 1, 1) + timedelta(days=block * _BLOCK_DAYS)
    noons = [datetime.combine(first + timedelta(days=day), time(12)) for day in range(_BLOCK_DAYS)]
    return np.array([[_offset(noon.replace(tzinfo=zones.named(zone))) for noon in noons] for zone in ZONES])


def _offset(moment: datetime) -> int:
    return (moment.utcoffset() or timedelta()) // timedelta(milliseconds=1)


def local_ms(moments: Ints, zone: str) -> Ints:
    """Return what the clocks of a zone show at UTC moments, both in milliseconds since 1970.

    Since 1970 offsets change on a quarter of an hour only: one look-up serves all moments of a quarter."""
    quarters, which = np.unique(moments // _QUARTER_MS, return_inverse=True)
    at = [datetime.fromtimestamp(int(quarter) * _QUARTER_MS / 1000, UTC) for quarter in quarters]
    offsets = np.array([_offset(moment.astimezone(zones.named(zone))) for moment in at], dtype=np.int64)
    return np.asarray(moments + offsets[which])


def zone_of(city: int) -> str:
    """Return the IANA time zone of a home city."""
    return CITIES[city].zone

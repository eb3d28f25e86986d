"""Periods of whole days and what each is compared with. Pure: the last day is given, never read from a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

PRESETS = {
    "1d": "Yesterday",
    "7d": "Last 7 days",
    "28d": "Last 28 days",
    "90d": "Last 90 days",
    "12m": "Last 12 months",
    "mtd": "Month to date",
    "month": "Last month",
    "ytd": "Year to date",
    "all": "All days",
    "custom": "Other days …",
}
DEFAULT_PRESET = "28d"
"""The default period: whole weeks, so that two neighbouring periods have the same weekdays."""


@dataclass(frozen=True)
class Period:
    """A period of whole days, both ends included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """Return how many days the period has."""
        return (self.last - self.first).days + 1

    def previous(self) -> Period:
        """Return as many days, just before the period."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    def year_before(self) -> Period:
        """Return the period with its dates in the year before."""
        return Period(a_year_before(self.first), a_year_before(self.last))

    def earlier(self, days: int) -> Period:
        """Return the period with some more days at its beginning."""
        return Period(self.first - timedelta(days=days), self.last)

    def within(self, whole: Period) -> bool:
        """Return whether no day of it lies outside of `whole`."""
        return whole.first <= self.first and self.last <= whole.last


@dataclass(frozen=True)
class Comparison:
    """The kind of days that a period is compared with; `of` gives those days, or None for nothing."""

    label: str
    words: str
    of: Callable[[Period], Period | None]


COMPARISONS = {
    "previous": Comparison("Days before", "vs previous", Period.previous),
    "year": Comparison("A year before", "vs a year ago", Period.year_before),
    "none": Comparison("Nothing", "", lambda _: None),
}


def a_year_before(day: date) -> date:
    """Return a day's date in the year before; the 28th for 29 February."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def of_preset(name: str, known: Period, *, last_over: date) -> Period:
    """Return the days a preset means, up to the last day that is over: no part of a day is compared with whole ones."""
    last = min(max(last_over, known.first), known.last)
    lengths = {"1d": 1, "7d": 7, "28d": 28, "90d": 90}
    if name in lengths:
        first = last - timedelta(days=lengths[name] - 1)
    elif name == "12m":
        first = a_year_before(last) + timedelta(days=1)
    elif name == "mtd":
        first = last.replace(day=1)
    elif name == "month":
        last = max(last.replace(day=1) - timedelta(days=1), known.first)
        first = last.replace(day=1)
    elif name == "ytd":
        first = last.replace(month=1, day=1)
    else:
        first = known.first
    return Period(max(first, known.first), last)

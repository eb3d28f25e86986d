"""Reach: which days a model rebuilds. It depends on what the model is made of, and on how far a changed day reaches
into later ones.

A model says so once, in its tags; a length is a sum of variables of config.yaml, so that it follows them:

    tags ('visits reach: attribution_window_days + markov_learning_days', 'spend')

A model without such a tag rebuilds the days whose visits or searches changed, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

KINDS = ("visits", "searches", "spend")


@dataclass(frozen=True)
class ChangedDays:
    """Days that new data changed, by what changed in them."""

    visits: frozenset[date] = field(default_factory=frozenset)
    """Days into which events came, or whose visits have another length or owner."""
    searches: frozenset[date] = field(default_factory=frozenset)
    """Days to whose searches a changed click or booking, of any day, belongs."""
    spend: frozenset[date] = field(default_factory=frozenset)
    """Days whose ad spend came, or was replaced."""

    def __or__(self, other: ChangedDays) -> ChangedDays:
        return ChangedDays(*(self.of(kind) | other.of(kind) for kind in KINDS))

    def of(self, kind: str) -> frozenset[date]:
        """Return the days in which this changed."""
        days: frozenset[date] = getattr(self, kind)
        return days

    @property
    def all(self) -> list[date]:
        """Return every day, in order."""
        return sorted(self.visits | self.searches | self.spend)

    @classmethod
    def entirely(cls, days: Iterable[date]) -> ChangedDays:
        """Return changed days in which anything may have changed."""
        whole = frozenset(days)
        return cls(whole, whole, whole)


def days_to_make(tags: Iterable[str], changed: ChangedDays, variables: Mapping[str, Any], last: date) -> set[date]:
    """Return the days up to `last` that a model with these tags rebuilds.

    Raises:
        KeyError: a tag names a variable that there is not.
    """
    found = [tag for tag in tags if tag.split()[0] in KINDS]
    if not found:
        return {day for day in changed.visits | changed.searches if day <= last}
    days: set[date] = set()
    for tag in found:
        kind, _, length = tag.partition(" reach: ")
        reach = sum(int(variables[name.strip()]) for name in length.split("+")) if length else 0
        days |= _with_later(changed.of(kind), reach, last)
    return days


def _with_later(days: Iterable[date], reach: int, last: date) -> set[date]:
    later: set[date] = set()
    begun = None
    for day in sorted(days):
        first = day if begun is None else max(day, begun)
        until = min(day + timedelta(days=reach), last)
        later |= {first + timedelta(days=step) for step in range((until - first).days + 1)}
        begun = max(until + timedelta(days=1), begun or day)
    return later

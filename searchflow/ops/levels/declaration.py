"""The declaration of levels: the file `service_levels.yaml`, typed, with errors that name file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from searchflow.documents import read, wrong
from searchflow.settings import ROOT

FILE = ROOT / "service_levels.yaml"
MeasureName = Literal[
    "availability",
    "unaccounted",
    "ingestion_lag",
    "dead_letter_share",
    "events_per_minute",
    "freshness",
    "completeness",
    "sync_latency",
    "pass_rate",
    "failing",
    "error_rate",
    "duration",
]
Unit = Literal["seconds", "share", "count"]
UNITS: dict[str, Unit] = {
    "availability": "count",
    "unaccounted": "count",
    "ingestion_lag": "seconds",
    "dead_letter_share": "share",
    "events_per_minute": "count",
    "freshness": "seconds",
    "completeness": "share",
    "sync_latency": "seconds",
    "pass_rate": "share",
    "failing": "count",
    "error_rate": "share",
    "duration": "seconds",
}
CAPPED = ("freshness", "sync_latency")
"""Measures that see no commit older than `over`, so a limit beyond it could never be broken."""

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|seconds?|min|minutes?|h|hours?|d|days?)$")
_SHARE = re.compile(r"^(\d+(?:\.\d+)?)\s*%$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Quantity = str | int | float


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service level. `of` names what it is about; `*` stands for any text."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
    sentence: Annotated[str, Meta(min_length=1, max_length=200)]
    measure: MeasureName
    of: str = "*"
    at_most: Quantity | None = None
    at_least: Quantity | None = None
    over: str = "1 day"
    grace: str = "0 minutes"

    @property
    def unit(self) -> Unit:
        """Return the unit of the level's values and its limit."""
        return UNITS[self.measure]

    @property
    def bound(self) -> str:
        """Return the kind of bound: `at most` or `at least`."""
        return "at most" if self.at_most is not None else "at least"

    @property
    def limit(self) -> float:
        """Return the limit in seconds, as a share between 0 and 1, or as a count."""
        given = self.at_most if self.at_most is not None else self.at_least
        assert given is not None
        return quantity(given, self.unit)

    @property
    def window(self) -> timedelta:
        """Return how far back the level looks."""
        return timedelta(seconds=quantity(self.over, "seconds"))

    @property
    def patience(self) -> timedelta:
        """Return, for completeness, how long ago an event was stored that must be there."""
        return timedelta(seconds=quantity(self.grace, "seconds"))

    def holds(self, value: float) -> bool:
        """Return whether a value keeps the limit."""
        return value <= self.limit if self.at_most is not None else value >= self.limit

    def problems(self) -> Iterator[tuple[str, str]]:
        """Return (field, what is wrong) for problems beyond the types."""
        if (self.at_most is None) == (self.at_least is None):
            yield "at_most", "give either at_most or at_least"
            return
        place = "at_most" if self.at_most is not None else "at_least"
        for name, given, unit in (
            (place, self.at_most if self.at_most is not None else self.at_least, self.unit),
            ("over", self.over, "seconds"),
            ("grace", self.grace, "seconds"),
        ):
            try:
                quantity(given or 0, unit)
            except ValueError as error:
                yield name, str(error)
                return
        if self.measure in CAPPED and self.limit >= self.window.total_seconds():
            yield "over", f"is not longer than {place}, so that the level could never be broken"
        if self.measure == "completeness" and self.patience >= self.window:
            yield "grace", "is not shorter than over: nothing is left to look at"


def quantity(given: Quantity, unit: Unit) -> float:
    """Return `15 minutes` as seconds, `5 %` as 0.05, and a number as it is.

    >>> quantity("15 minutes", "seconds")
    900.0
    """
    text = str(given).strip()
    if unit == "seconds" and (found := _DURATION.match(text)):
        return float(found[1]) * _SECONDS[found[2][0]]
    if unit == "share":
        share = float(found[1]) / 100 if (found := _SHARE.match(text)) else _number(given)
        if share is not None and 0 <= share <= 1:
            return share
    number = _number(given)
    if unit == "count" and number is not None and number >= 0:
        return number
    if unit == "seconds" and number == 0:
        return 0.0
    wanted = {"seconds": "a duration such as `15 minutes`", "share": "a share such as `5 %`", "count": "a number"}[unit]
    raise ValueError(f"is {text!r}; write {wanted}")


def _number(given: Quantity) -> float | None:
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


def load_levels(path: Path = FILE) -> list[Level]:
    """Return all levels, in the order of the file.

    Raises:
        ConfigurationError: the file is wrong; names the file, the line and the field.
    """
    levels, text = read(path, list[Level])
    seen: set[str] = set()
    for number, level in enumerate(levels):
        if level.name in seen:
            raise wrong(path, text, [number, "name"], f"is {level.name!r}, which another level is called too")
        seen.add(level.name)
        for field, problem in level.problems():
            raise wrong(path, text, [number, field], problem)
    return levels

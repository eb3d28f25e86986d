"""One more day of models, on top of 30 days and on top of 365 days of the same daily volume: what history adds to its cost.

The processes are warm, the day has ended, and all models run with their audits, as in production. The two histories take
turns, day by day, so that a busy moment of the machine meets both; the median of their days counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import Any

from benchmarks import history
from benchmarks.report import Figure, Options, Report
from benchmarks.support import child, machine, platform
from searchflow import warehouse
from searchflow.settings import Settings

DAILY = 20_000
SHORT, LONG = 30, 365
REPEATED = 5
FIRST = date(2025, 1, 1)
CHUNK = 30
"""The number of days that are written in one commit."""
AT_MOST = 1.25


def run(options: Options) -> Report:
    """Build both histories, then add days to each in turn."""
    daily, days = options.scaled(DAILY, least=50), options.scaled(LONG, least=SHORT + 10) if options.size < 1 else LONG
    with platform(options) as few, platform(options) as many, child() as call_few, child() as call_many:
        short, long = _History(few, call_few, daily), _History(many, call_many, daily)
        options.progress(f"building {SHORT} and {days} days of {daily:,} events")
        short.grow(SHORT)
        long.grow(days)
        for number in range(1, REPEATED + 1):
            options.progress(f"one more day on each: {number} of {REPEATED}")
            short.one_more()
            long.one_more()
    short_day, long_day = statistics.median(short.seconds), statistics.median(long.seconds)
    figures = [
        Figure(f"one more day on {SHORT} days", round(short_day, 2), "s"),
        Figure(
            f"one more day on {days} days",
            round(long_day, 2),
            "s",
            round(short_day, 2),
            f"on {SHORT} days",
            f"at most {AT_MOST} times",
            long_day <= AT_MOST * short_day if options.judges else None,
        ),
    ]
    return Report("increment", (__doc__ or "").partition("\n")[0], figures, machine() | _facts(daily, short, long))


@dataclass
class _History:
    """A platform with days in it, the process that transforms it, and the seconds of each day that was added by
    itself."""

    settings: Settings
    call: Callable[..., Any]
    daily: int
    days: int = 0
    seconds: list[float] = field(default_factory=list)
    models: list[dict[str, float]] = field(default_factory=list)

    def grow(self, days: int) -> None:
        """Add some days, all at once."""
        while self.days < days:
            self._add(min(CHUNK, days - self.days))
        self.call(_transform, self.settings, self.days)

    def one_more(self) -> None:
        """Add one more day, and measure it."""
        self._add(1)
        seconds, models = self.call(_transform, self.settings, self.days)
        self.seconds.append(round(seconds, 3))
        self.models.append(models)

    def median(self, model: str) -> float:
        """Return the median seconds of a model, over the days on which it was made."""
        return statistics.median([models[model] for models in self.models if model in models] or [0.0])

    def _add(self, days: int) -> None:
        self.call(_add, self.settings, self.days, days, self.daily)
        self.days += days


def _facts(daily: int, short: _History, long: _History) -> dict[str, Any]:
    names = {name for models in long.models for name in models}
    grown = sorted(names, key=lambda name: long.median(name) - short.median(name), reverse=True)
    return {
        "events_a_day": daily,
        "seconds_short": short.seconds,
        "seconds_long": long.seconds,
        "grown_most": {name: [round(short.median(name), 3), round(long.median(name), 3)] for name in grown},
    }


def _add(settings: Settings, built: int, days: int, daily: int) -> None:
    with warehouse.connect(settings) as connection, warehouse.transaction(connection):
        history.add_days(connection, FIRST + timedelta(days=built), days, daily)


def _transform(settings: Settings, built: int) -> tuple[float, dict[str, float]]:
    """Return the seconds of a transformation, and those of each model."""
    from searchflow.transformation import transform

    began = time.perf_counter()
    result = transform(settings, now=history.ends(FIRST + timedelta(days=built - 1)).replace(tzinfo=UTC))
    return time.perf_counter() - began, {model.name: model.duration_s for model in result.models}

"""One more day of models, on top of 30 days and on top of 365 days of the same daily volume: what history adds to its cost.

The process is warm, the day has ended, and all models run with their audits, as in production. The median of three days.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from datetime import UTC, date, timedelta
from typing import Any

from benchmarks import history
from benchmarks.report import Figure, Options, Report
from benchmarks.support import in_child, machine, platform
from searchflow import warehouse
from searchflow.settings import Settings

DAILY = 20_000
SHORT, LONG = 30, 365
REPEATED = 3
FIRST = date(2025, 1, 1)
CHUNK = 30
"""Days that are written in one commit."""
AT_MOST = 1.25


def run(options: Options) -> Report:
    """Build the short history, add days; grow it to the long one, add days."""
    daily, long = options.scaled(DAILY, least=50), options.scaled(LONG, least=SHORT + 10) if options.size < 1 else LONG
    with platform(options) as settings:
        options.progress(f"{SHORT} and {long} days of {daily:,} events")
        found = in_child(_measure, settings, daily, long)
    short_day, long_day = (statistics.median(found.result[f"seconds_{name}"]) for name in ("short", "long"))
    figures = [
        Figure(f"one more day on {SHORT} days", round(short_day, 2), "s"),
        Figure(
            f"one more day on {long} days",
            round(long_day, 2),
            "s",
            round(short_day, 2),
            f"on {SHORT} days",
            f"at most {AT_MOST} times",
            long_day <= AT_MOST * short_day if options.judges else None,
        ),
    ]
    return Report("increment", (__doc__ or "").partition("\n")[0], figures, machine() | _facts(daily, found.result))


def _facts(daily: int, result: dict[str, Any]) -> dict[str, Any]:
    short, long = result["models_short"], result["models_long"]
    grown = sorted(long, key=lambda name: long[name] - short.get(name, 0.0), reverse=True)
    return {
        "events_a_day": daily,
        "seconds_short": result["seconds_short"],
        "seconds_long": result["seconds_long"],
        "grown_most": {name: [round(short.get(name, 0.0), 3), round(long[name], 3)] for name in grown},
    }


def _measure(settings: Settings, daily: int, long: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    built = 0
    for name, days in (("short", SHORT), ("long", long)):
        while built < days:
            more = min(CHUNK, days - built)
            _add(settings, built, more, daily)
            built += more
        _transform(settings, built)
        seconds, models = [], defaultdict(list)
        for _ in range(REPEATED):
            _add(settings, built, 1, daily)
            built += 1
            began = time.perf_counter()
            result = _transform(settings, built)
            seconds.append(round(time.perf_counter() - began, 3))
            for each in result.models:
                models[each.name].append(each.duration_s)
        found[f"seconds_{name}"] = seconds
        found[f"models_{name}"] = {model: statistics.median(values) for model, values in models.items()}
    return found


def _add(settings: Settings, built: int, days: int, daily: int) -> None:
    with warehouse.connect(settings) as connection, warehouse.transaction(connection):
        history.add_days(connection, FIRST + timedelta(days=built), days, daily)


def _transform(settings: Settings, built: int) -> Any:
    from searchflow.transformation import transform

    return transform(settings, now=history.ends(FIRST + timedelta(days=built - 1)).replace(tzinfo=UTC))

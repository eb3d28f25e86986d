"""How often each place in the list is clicked first, and clicks over expected clicks; exact fractions, search by search."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

PAGE, KNOWN = 25, timedelta(days=90)
CELL = ("search_date", "platform", "device_type", "channel")


def by_position(searches: pl.DataFrame, now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Both marts about positions; `searches` are rows of the funnel."""
    rows = [
        row
        for row in searches.to_dicts()
        if (row["results_count"] or 0) > 0 and not row["is_bot"] and row["search_date"] >= now.date() - KNOWN
    ]
    shown: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    for row in rows:
        shown.update(_places(row))
        clicked.update([row["first_click_position"]] if row["first_click_position"] in _places(row) else [])
    rates = {place: Fraction(clicked[place], shown[place]) for place in clicked}
    cells: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, Fraction(0)])
    for row in rows:
        cell = cells[tuple(row[name] for name in CELL)]
        cell[0] += 1
        cell[1] += row["first_click_position"] in _places(row)
        cell[2] += sum(rates.get(place, Fraction(0)) for place in _places(row))
    return {
        "marts.mart_position_clicks": [
            {
                "position": place,
                "searches_shown": shown[place],
                "first_clicks": clicked[place],
                "click_rate": float(rate),
            }
            for place, rate in rates.items()
        ],
        "marts.mart_position_corrected_clicks": [
            {
                **dict(zip(CELL, cell, strict=True)),
                "searches": count,
                "searches_with_click": clicks,
                "expected_clicks": float(expected),
                "coec": float(clicks / expected) if expected else None,
            }
            for cell, (count, clicks, expected) in cells.items()
        ],
    }


def _places(row: dict[str, Any]) -> range:
    """The places that a search showed, on its page of a list of so many results."""
    return range((row["page"] - 1) * PAGE + 1, min(row["results_count"], row["page"] * PAGE) + 1)

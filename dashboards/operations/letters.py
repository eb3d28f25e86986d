"""Section on dead letters: input that was refused, by reason and day."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from dashboards import charts, formats
from dashboards.frame import PlatformPage, chart, column, nothing, numbers, tile
from dashboards.queries import operations

SHOWN = timedelta(days=30)
MOST, OTHER = 7, "other"
"""The number of reasons that have a colour of their own, and the name of all others."""


def draw(page: PlatformPage) -> None:
    """Draw a table of dead letters by reason, and a chart by day."""
    now = page.now
    rows = operations.dead_letters(page.reading)
    if not rows:
        nothing("No input was ever refused.")
        return
    with tile(
        page,
        "Inputs that could not be stored",
        "raw.dead_letters",
        key="letters",
        about="`searchflow dlq list` shows them, `searchflow dlq replay` tries them again.",
    ) as drawn:
        drawn.table(
            [row | {"newest": formats.age(now - row["newest"])} for row in rows],
            {
                "reason_code": column("Reason", width="medium"),
                "open": numbers("Open"),
                "replayed": numbers("Replayed"),
                "discarded": numbers("Discarded"),
                "letters": numbers("In all"),
                "newest": column("Newest"),
            },
            alt="Dead letters by reason",
        )
    daily = operations.letters_by_day(page.reading, now - SHOWN)
    if daily:
        with tile(page, "By day of arrival", "raw.dead_letters", key="letters-by-day") as drawn:
            drawn.shows(daily, {"day": "Day", "reason_code": "Reason", "letters": "Letters"})
            days = sorted({row["day"] for row in daily})
            totals: Counter[str] = Counter()
            for row in daily:
                totals[row["reason_code"]] += row["letters"]
            frequent = [reason for reason, _ in totals.most_common(MOST)]
            values: Counter[tuple[date, str]] = Counter()
            for row in daily:
                reason = row["reason_code"]
                values[row["day"], reason if reason in frequent else OTHER] += row["letters"]
            reasons = [*frequent, *([OTHER] if any(part == OTHER for _, part in values) else [])]
            chart(
                charts.stacked_days(days, reasons, values), alt="Dead letters by day", height=220, key="letters-chart"
            )

"""What can be filtered by: the days there are, and the values of each dimension, the most searched first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from dashboards.filters import DIMENSIONS
from dashboards.formats import UNKNOWN
from dashboards.periods import Period
from dashboards.source import Reading

OVER_FROM = 0.9
"""A day counts as over when so much of it is here: a running day has at most its elapsed share, a finished one 97 % and more."""
MOST_VALUES = 200


@dataclass(frozen=True)
class Calendar:
    """The days with data, and the last of them that is over."""

    known: Period
    last_over: date


def calendar(reading: Reading) -> Calendar | None:
    """None when nothing has happened yet."""
    row = reading.row(
        """
        SELECT min(kpi_date) AS first, max(kpi_date) AS last, max(kpi_date) FILTER (finality >= $over_from) AS last_over
        FROM marts.mart_kpi_daily
        """,
        {"over_from": OVER_FROM},
    )
    if row["first"] is None:
        return None
    return Calendar(Period(row["first"], row["last"]), row["last_over"] or row["last"])


def values(reading: Reading) -> dict[str, list[str]]:
    """Dimension -> its values."""
    parts = [
        f"SELECT '{name}' AS dimension, coalesce({name}, $unknown) AS value, sum(searches) AS searches "
        f"FROM marts.fct_search_funnel_daily GROUP BY ALL"
        for name in DIMENSIONS
    ]
    rows = reading.rows(
        f"SELECT dimension, value FROM ({' UNION ALL '.join(parts)}) ORDER BY searches DESC, value",
        {"unknown": UNKNOWN},
    )
    found: dict[str, list[str]] = {name: [] for name in DIMENSIONS}
    for row in rows:
        if len(found[row["dimension"]]) < MOST_VALUES:
            found[row["dimension"]].append(row["value"])
    return found

"""What can be filtered by: the days there are, and the values of each dimension, the most searched first."""

from __future__ import annotations

from dashboards.filters import DIMENSIONS
from dashboards.formats import UNKNOWN
from dashboards.periods import Period
from dashboards.source import Reading

MOST_VALUES = 200


def calendar(reading: Reading) -> Period | None:
    """The days with data; None when nothing has happened yet."""
    row = reading.row("SELECT min(kpi_date) AS first, max(kpi_date) AS last FROM marts.mart_kpi_daily")
    return None if row["first"] is None else Period(row["first"], row["last"])


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

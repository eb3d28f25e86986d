"""Queries for what can be filtered by: the days there are, and the values of each dimension, the most searched first."""

from __future__ import annotations

from dashboards.filters import DIMENSIONS
from dashboards.formats import UNKNOWN
from dashboards.periods import Period
from dashboards.source import Reading

MOST_VALUES = 200


def calendar(reading: Reading) -> Period | None:
    """Return the days with data; None when nothing has happened yet."""
    row = reading.row("SELECT min(kpi_date) AS first, max(kpi_date) AS last FROM marts.mart_kpi_daily")
    return None if row["first"] is None else Period(row["first"], row["last"])


def values(reading: Reading) -> dict[str, list[str]]:
    """Return dimension -> its values, found in one reading of the mart."""
    names = list(DIMENSIONS)
    cases = " ".join(f"WHEN grouping({name}) = 0 THEN '{name}'" for name in names)
    shown = " ".join(f"WHEN grouping({name}) = 0 THEN {name}" for name in names)
    rows = reading.rows(
        f"""
        SELECT CASE {cases} END AS dimension, coalesce(CASE {shown} END, $unknown) AS value
        FROM marts.fct_search_funnel_daily GROUP BY GROUPING SETS ({", ".join(f"({name})" for name in names)})
        ORDER BY sum(searches) DESC, value
        """,
        {"unknown": UNKNOWN},
    )
    found: dict[str, list[str]] = {name: [] for name in DIMENSIONS}
    for row in rows:
        if len(found[row["dimension"]]) < MOST_VALUES:
            found[row["dimension"]].append(row["value"])
    return found

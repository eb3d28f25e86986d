"""Conditions that the filters mean in SQL. Values are bound parameters; only our own column names are written into the
text."""

from __future__ import annotations

from typing import Any

from dashboards.filters import DIMENSIONS, Filters
from dashboards.formats import UNKNOWN
from dashboards.periods import Period


def on(filters: Filters, *dimensions: str) -> tuple[str, dict[str, Any]]:
    """Return the condition that holds the chosen values of these dimensions (all, when none are named), and its
    parameters."""
    clauses, parameters = ["true"], {}
    for dimension in dimensions or DIMENSIONS:
        chosen = filters.of(dimension)
        if chosen:
            clauses.append(f"list_contains($chosen_{dimension}, coalesce({dimension}, '{UNKNOWN}'))")
            parameters[f"chosen_{dimension}"] = list(chosen)
    return " AND ".join(clauses), parameters


def between(period: Period) -> dict[str, Any]:
    """Return the parameters of `BETWEEN $first AND $last`."""
    return {"first": period.first, "last": period.last}

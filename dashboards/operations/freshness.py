"""Section on freshness: how fresh everything is, against its service levels, and what changed after it was shown."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import streamlit as st

from dashboards import formats
from dashboards.frame import PlatformPage, changes, column, moments, nothing, numbers, tile
from dashboards.queries import operations

STATES = {"broken": "✕ broken", "kept": "✓ kept", "unknown": "? not known"}
"""State -> how people read it, the worst first."""
UNITS: dict[str, Callable[[float], str]] = {
    "seconds": formats.seconds,
    "share": formats.percent,
    "count": formats.count,
}


def draw(page: PlatformPage, levels: list[dict[str, Any]]) -> None:
    """Draw service levels, the age of each table, and restated figures."""
    if levels:
        _levels(page, levels)
    with tile(page, "Freshness of each table", "ops.freshness", key="freshness") as drawn:
        rows = operations.freshness(page.reading) if "ops.freshness" in page.reading.tables() else []
        if not rows:
            nothing("Freshness is known after the first transformation: run `searchflow transform`.")
        else:
            drawn.table(
                [
                    row | {"age": formats.age(page.now - row["last_loaded_at"]) if row["last_loaded_at"] else "never"}
                    for row in rows
                ],
                {
                    "table_name": column("Table", width="medium"),
                    "age": column("Last written"),
                    "last_loaded_at": moments("At (UTC)"),
                    "last_event_ts": moments("Newest event or end of what it covers (UTC)"),
                },
                alt="When each table was last written, the oldest first",
                height=520 if len(rows) > 14 else "auto",
            )
    _restatements(page)


def _levels(page: PlatformPage, levels: list[dict[str, Any]]) -> None:
    """Draw one line for each level, as its worst measurement has it, and each measurement below."""
    with tile(
        page,
        "Service levels",
        operations.LEVELS,
        key="levels",
        about="What people may rely on. A level is kept when all that it speaks of is; each line shows the worst.",
    ) as drawn:
        drawn.table(
            summaries(levels),
            {
                "state": column("State"),
                "sentence": column("What people may rely on", width="large"),
                "now": column("Now"),
                "limit": column("Limit"),
                "of": column("Of", width="medium"),
                "kept": column("Kept", width="medium"),
            },
            alt="Service levels, the broken ones first",
            height="content",
        )
        with st.expander(f"Each of the {len(levels)} measurements"):
            every = [
                row
                | {
                    "state": STATES.get(row["state"], row["state"]),
                    "level": formats.label(row["level"]),
                    "since": formats.age(page.now - row["since"]),
                    "now": shown(row["value"], row["unit"]),
                    "limit": shown(row["limit_value"], row["unit"]),
                }
                for row in levels
            ]
            columns = {
                "state": column("State"),
                "level": column("Level", width="medium"),
                "target": column("Of", width="large"),
                "now": column("Now"),
                "limit": column("Limit"),
                "since": column("Since"),
            }
            drawn.table(every, columns, alt="Every measurement of a service level", height=420)


def summaries(levels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per level from one per measurement, the broken ones first. A value not known yet breaks nothing."""
    order = list(STATES)
    rows = []
    for _, group in groupby(sorted(levels, key=lambda row: row["level"]), key=lambda row: row["level"]):
        all_of_it = list(group)
        known = [row for row in all_of_it if row["state"] != "unknown"]
        worst = max(known or all_of_it, key=_closeness)
        kept = sum(row["state"] == "kept" for row in known)
        waiting = len(all_of_it) - len(known)
        rows.append(
            {
                "place": order.index(worst["state"]),
                "state": STATES[worst["state"]],
                "sentence": worst["sentence"],
                "now": shown(worst["value"], worst["unit"]),
                "limit": shown(worst["limit_value"], worst["unit"]),
                "of": worst["target"] or "the platform",
                "kept": ", ".join(
                    [
                        *([f"{kept} of {len(known)}"] if known else []),
                        *([f"{waiting} not known yet"] if waiting else []),
                    ]
                ),
            }
        )
    return sorted(rows, key=lambda row: (row["place"], row["sentence"]))


def _closeness(row: dict[str, Any]) -> tuple[bool, float]:
    """Return how close a measurement is to its limit, or how far beyond it."""
    value = row["value"] or 0.0
    return row["state"] == "broken", value if row["bound"] == "at_most" else -value


def shown(value: float | None, unit: str) -> str:
    """Return a measurement in its unit.

    >>> shown(75, "seconds"), shown(0.999, "share"), shown(None, "count")
    ('1 min 15 s', '99.9%', '–')
    """
    return formats.MISSING if value is None else UNITS[unit](value)


def _restatements(page: PlatformPage) -> None:
    """Draw which figures that people may have read have changed since, and by how much."""
    if operations.RESTATEMENTS not in page.reading.tables():
        return
    with tile(
        page,
        "Key figures that changed after they were shown",
        operations.RESTATEMENTS,
        key="restatements",
        about="Late events restate the days they belong to; docs/guides/late-data.md tells how.",
    ) as drawn:
        rows = operations.restatements(page.reading)
        if not rows:
            nothing("No day was restated yet.")
            return
        drawn.table(
            [row | {"metric": formats.label(row["metric"])} for row in rows],
            {
                "restated_at": moments("Restated (UTC)"),
                "kpi_date": column("Day"),
                "metric": column("Figure", width="medium"),
                "old_value": numbers("Old", "%,.2f"),
                "new_value": numbers("New", "%,.2f"),
                "change": changes("Change", "%+,.2f"),
                "cause": column("Because of"),
                "late_events": numbers("Late events"),
            },
            alt="Restated key figures, the newest first",
            height=360 if len(rows) > 9 else "auto",
        )

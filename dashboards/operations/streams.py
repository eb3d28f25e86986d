"""Section on input: events by hour, rates and lags, and what producers changed."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from dashboards import charts, theme
from dashboards.frame import PlatformPage, chart, column, moments, nothing, tile
from dashboards.queries import operations
from searchflow.event_types import EVENT_TYPES

RECENT = timedelta(hours=24)
ARRIVALS = timedelta(hours=48)
KINDS = {name: (each.title, theme.PALETTE[each.color]) for name, each in EVENT_TYPES.items()}
"""Event type -> its name and colour in the chart."""


def draw(page: PlatformPage) -> None:
    """Draw arrivals, rates and lags, and changes of the events' fields."""
    now = page.now
    with tile(page, "Events received, by hour", "ops.ingestion_batches", key="arrivals") as drawn:
        rows = operations.arrivals(page.reading, now - ARRIVALS)
        if not rows:
            nothing("No event came in during the last 48 hours. `searchflow up` starts live traffic and ingestion.")
        else:
            last = now.replace(minute=0, second=0, microsecond=0)
            hours = [last - timedelta(hours=n) for n in reversed(range(ARRIVALS // timedelta(hours=1)))]
            counts = {(row["hour"], row["event_type"]): row["received"] for row in rows}
            drawn.shows(rows, {"hour": "Hour (UTC)", "event_type": "Event", "received": "Received"})
            chart(
                charts.stacked_hours(hours, KINDS, counts),
                alt="Events received by hour in the last 48 hours",
                height=220,
                key="arrivals-chart",
            )
    rates = operations.rates(page.reading, now - RECENT)
    left, right = st.columns(2, gap="small")
    for place, name, what, suffix in (
        (left, "Events a second", "rate", ""),
        (right, "Seconds the oldest event waited", "lag", " s"),
    ):
        with (
            place,
            tile(page, name, "ops.ingestion_metrics", key=what, about="The busiest moment of each 5 minutes.") as drawn,
        ):
            if not rates:
                nothing("Nothing was ingested during the last 24 hours.")
                continue
            drawn.shows(rates, {"at": "From (UTC)", "source": "Source", what: name})
            series: dict[str, list[tuple[datetime, float | None]]] = {}
            for row in rates:
                series.setdefault(row["source"].removeprefix("searchflow:events:"), []).append((row["at"], row[what]))
            chart(
                charts.lines(series, suffix=suffix, tooltip=f"%,.1f{suffix}"), alt=name, height=220, key=f"{what}-chart"
            )
    changed = operations.schema_changes(page.reading)
    if changed:
        with tile(page, "What producers changed", "ops.schema_changes", key="schema-changes") as drawn:
            drawn.table(
                changed,
                {
                    "event_type": column("Event"),
                    "field": column("Field", width="medium"),
                    "kind": column("What"),
                    "json_type": column("Type"),
                    "previous_types": column("Types before"),
                    "first_seen_at": moments("First seen (UTC)"),
                    "source": column("Source", width="medium"),
                },
                alt="New fields and changed types, the newest first",
            )

"""User segments: who the users are, how that changed, and where they went."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import charts, formats, theme
from dashboards.frame import Page, chart, column, nothing, numbers, open_page, table
from dashboards.queries import segments

# As in the models (config.yaml holds the limits); the first that holds, in this order, counts.
MEANING = {
    "high_value": "Booked for more than CA$500, or five times.",
    "new_user": "First seen within the last 7 days.",
    "at_risk": "Booked before, not seen for over 30 days.",
    "abandoned_search": "Searched within 48 hours, booked nothing since.",
    "regular": "Everybody else.",
}


def render(page: Page) -> None:
    """Now, over time, and the moves between."""
    rows = segments.now(page.reading, page.filters)
    if not rows:
        nothing("No user matches these filters. Remove one.")
        return
    found = {row["segment"]: row for row in rows}
    order = [name for name in segments.ORDER if name in found] + sorted(set(found) - set(segments.ORDER))
    labels = {name: formats.label(name) for name in order}
    _tiles(found, order)
    st.subheader("What they are worth", anchor=False)
    table(
        [found[name] | {"name": labels[name], "share": 100 * found[name]["share"]} for name in order],
        {
            "name": column("Segment", width="medium"),
            "users": numbers("Users"),
            "share": numbers("Share", formats.PERCENT_FORMAT),
            "revenue": numbers("Lifetime revenue", formats.MONEY_FORMAT),
            "revenue_per_user": numbers("Per user", formats.CENTS_FORMAT),
            "bookings_per_user": numbers("Bookings per user", "%.2f"),
            "days_since_seen": numbers("Days since seen", "%.0f", help="Median days since a user's newest event."),
        },
        alt="Users, share and value by segment",
    )
    _history(page)
    _transitions(page)


def _tiles(found: dict[str, dict[str, Any]], order: list[str]) -> None:
    total = sum(row["users"] for row in found.values())
    st.caption(f"{formats.count(total)} identified users in exactly one segment each; anonymous visitors have none.")
    with st.grid(len(order), gap="small", min_column_width=150):
        for name in order:
            st.metric(
                formats.label(name),
                formats.count(found[name]["users"]),
                f"{formats.percent(found[name]['users'] / total)} of users",
                delta_color="off",
                delta_arrow="off",
                help=MEANING.get(name),
                border=True,
                height="stretch",
            )


def _history(page: Page) -> None:
    st.subheader("Over time", anchor=False)
    st.caption("Users in each segment at the end of each day, all visitors together.")
    rows = segments.history(page.reading, page.period)
    if not rows:
        nothing("No history is known yet.")
        return
    values = {(row["day"], row["segment"]): row["users"] for row in rows}
    days = sorted({row["day"] for row in rows})
    parts = [name for name in segments.ORDER if any(key[1] == name for key in values)]
    chart(
        charts.areas(days, parts, values, colors=theme.SEGMENTS, labels={name: formats.label(name) for name in parts}),
        alt=f"Users by segment from {formats.day(days[0])} to {formats.day(days[-1])}",
        key="history",
    )


def _transitions(page: Page) -> None:
    first_month = page.period.first.replace(day=1)
    st.subheader("Who moved where", anchor=False)
    st.caption(
        f"Changes of segment from {formats.day(first_month)} on, whole months, all visitors together. "
        "Left what they were, right what they became."
    )
    rows = segments.transitions(page.reading, page.period)
    if not rows:
        nothing("Nobody changed segment in these months.")
        return
    labels = {name: formats.label(name) for row in rows for name in (row["from_segment"], row["to_segment"])}
    left, right = st.columns([3, 2], gap="medium")
    with left:
        links = [(row["from_segment"], row["to_segment"], row["transitions"]) for row in rows]
        chart(
            charts.flows(links, order=segments.ORDER, colors=theme.SEGMENTS, labels=labels),
            alt="Changes between segments",
            height=360,
            key="transitions",
        )
    with right:
        ordered = sorted(rows, key=lambda row: -row["transitions"])
        table(
            [
                {
                    "from": labels[row["from_segment"]],
                    "to": labels[row["to_segment"]],
                    "transitions": row["transitions"],
                }
                for row in ordered
            ],
            {"from": column("From"), "to": column("To"), "transitions": numbers("Changes")},
            alt="Changes between segments, the most frequent first",
            height=360 if len(rows) > 9 else "auto",
        )


render(
    open_page(
        "User segments",
        about="Who the users are and where they go",
        tables=[
            "marts.mart_user_segments",
            "marts.mart_user_segment_history",
            "marts.mart_segment_transitions",
            "marts.dim_users",
        ],
        applies=("platform", "device_type", "country"),
        compares=False,
        reason="A user comes by many channels: segments are not split by channel.",
    )
)

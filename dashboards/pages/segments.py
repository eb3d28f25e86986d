"""User segments: who the users are, how that changed, and where they went."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import charts, definitions, filters, formats, theme
from dashboards.frame import Page, changes, chart, column, mode, nothing, numbers, open_page, tile
from dashboards.queries import outcomes, segments

SEGMENTS, HISTORY = "marts.mart_user_segments", "marts.mart_user_segment_history"
TRANSITIONS, USERS = "marts.mart_segment_transitions", "marts.dim_users"
LIFT, QUALITY = "marts.mart_sync_lift", "marts.mart_recommendation_quality"
GRIDS = {"days": "Days and bookings", "scores": "RFM scores"}
# As in the models (config.yaml holds the limits); the first that holds, in this order, counts.
MEANING = {
    "high_value": "Booked for more than CA$500, or five times.",
    "new_user": "First seen within the last 7 days.",
    "at_risk": "Booked before, not seen for over 30 days.",
    "abandoned_search": "Searched within 48 hours, booked nothing since.",
    "regular": "Everybody else.",
}


def render(page: Page) -> None:
    """Draw the segments now, over time, the moves between, what sets a segment apart, and who is worth a message."""
    rows = segments.now(page.reading, page.filters)
    if not rows:
        nothing("No user matches these filters. Remove one.")
        return
    found = {row["segment"]: row for row in rows}
    order = [name for name in segments.ORDER if name in found] + sorted(set(found) - set(segments.ORDER))
    _figures(page, found, order)
    _worth(page, found, order)
    _history(page)
    _transitions(page)
    left, right = st.columns(2, gap="small")
    with left:
        _traits(page, order)
    with right:
        _recency_frequency(page)
    _lift(page)
    _recommendations(page)


def _figures(page: Page, found: dict[str, dict[str, Any]], order: list[str]) -> None:
    total = sum(row["users"] for row in found.values())
    st.caption(f"{formats.count(total)} identified users in exactly one segment each; anonymous visitors have none.")
    stamp = page.trust.stamp(SEGMENTS, USERS)
    with st.grid(len(order), gap="small", min_column_width=150):
        for name in order:
            with st.container(
                border=True, gap="xxsmall", height="stretch", key=f"tile-{name.replace('_', '-')}-figure"
            ):
                st.metric(
                    formats.label(name),
                    formats.count(found[name]["users"]),
                    f"{formats.percent(found[name]['users'] / total)} of users",
                    delta_color="off",
                    delta_arrow="off",
                    help=MEANING.get(name),
                )
                st.caption(stamp.short, help=stamp.details)


def _worth(page: Page, found: dict[str, dict[str, Any]], order: list[str]) -> None:
    with tile(
        page, "What they are worth", SEGMENTS, USERS, key="worth", meaning=definitions.of(f"{SEGMENTS}.segment")
    ) as drawn:
        drawn.table(
            [found[name] | {"name": formats.label(name), "share": 100 * found[name]["share"]} for name in order],
            {
                "name": column("Segment", width="medium"),
                "users": numbers("Users", help=definitions.of(f"{SEGMENTS}.user_id")),
                "share": numbers("Share", formats.PERCENT_FORMAT),
                "revenue": numbers(
                    "Lifetime revenue", formats.MONEY_FORMAT, help=definitions.of(f"{SEGMENTS}.lifetime_revenue")
                ),
                "revenue_per_user": numbers("Per user", formats.CENTS_FORMAT),
                "bookings_per_user": numbers(
                    "Bookings per user", "%.2f", help=definitions.of(f"{SEGMENTS}.conversions")
                ),
                "days_since_seen": numbers("Days since seen", "%.0f", help="Median days since a user's newest event."),
            },
            alt="Users, share and value by segment",
        )


def _history(page: Page) -> None:
    with tile(
        page,
        "Over time",
        HISTORY,
        key="history",
        about="Users in each segment at the end of each day, all visitors together.",
    ) as drawn:
        rows = segments.history(page.reading, page.period)
        if not rows:
            nothing("No history is known yet.")
            return
        values = {(row["day"], row["segment"]): row["users"] for row in rows}
        days = sorted({row["day"] for row in rows})
        parts = [name for name in segments.ORDER if any(key[1] == name for key in values)]
        labels = {name: formats.label(name) for name in parts}
        drawn.shows(
            [
                row | {"segment": formats.label(row["segment"])}
                for row in sorted(rows, key=lambda row: (row["day"], row["segment"]))
            ],
            {"day": "Day", "segment": "Segment", "users": "Users"},
        )
        chart(
            charts.areas(days, parts, values, colors=theme.SEGMENTS, labels=labels),
            alt=f"Users by segment from {formats.day(days[0])} to {formats.day(days[-1])}",
            key="history-chart",
        )


def _transitions(page: Page) -> None:
    first_month = page.period.first.replace(day=1)
    with tile(
        page,
        "Who moved where",
        TRANSITIONS,
        key="transitions",
        about=f"Changes of segment from {formats.day(first_month)} on, whole months, all visitors together. "
        "Left what they were, right what they became.",
    ) as drawn:
        rows = segments.transitions(page.reading, page.period)
        if not rows:
            nothing("No user changed segment in these months.")
            return
        labels = {name: formats.label(name) for row in rows for name in (row["from_segment"], row["to_segment"])}
        left, right = st.columns([3, 2], gap="medium")
        with left:
            links = [(row["from_segment"], row["to_segment"], row["transitions"]) for row in rows]
            chart(
                charts.flows(links, order=segments.ORDER, colors=theme.SEGMENTS, labels=labels),
                alt="Changes between segments",
                height=360,
                key="transitions-chart",
            )
        with right:
            ordered = sorted(rows, key=lambda row: -row["transitions"])
            drawn.table(
                [
                    {
                        "from": labels[row["from_segment"]],
                        "to": labels[row["to_segment"]],
                        "transitions": row["transitions"],
                    }
                    for row in ordered
                ],
                {
                    "from": column("From"),
                    "to": column("To"),
                    "transitions": numbers("Changes", help=definitions.of(f"{TRANSITIONS}.transitions")),
                },
                alt="Changes between segments, the most frequent first",
                height=360 if len(rows) > 9 else "auto",
            )


def _traits(page: Page, order: list[str]) -> None:
    """Draw what a segment has more of than all users have: the high-value users first of all."""
    with tile(
        page,
        "What sets them apart",
        USERS,
        SEGMENTS,
        key="traits",
        about="Beside all identified users, whatever filters are chosen. Above 1.00: more frequent here than among all.",
    ) as drawn:
        segment = st.selectbox(
            "Segment", order, format_func=formats.label, key="segment", bind="query-params", width=220
        )
        own, everybody = _habits(page, segment)
        if own and everybody:
            st.markdown(
                f"A user here searches **{own['searches']:,.1f}** times (all: {everybody['searches']:,.1f}), books "
                f"**{own['bookings']:,.2f}** times ({everybody['bookings']:,.2f}) and is worth "
                f"**{_money(own['revenue'])}** ({_money(everybody['revenue'])})."
            )
        rows = segments.traits(page.reading, segment)
        drawn.table(
            [
                row
                | {
                    "trait": segments.TRAITS[row["trait"]],
                    "value": filters.show(row["trait"], row["value"]),
                    "share": None if row["share"] is None else 100 * row["share"],
                    "share_of_all": 100 * row["share_of_all"],
                }
                for row in rows
            ],
            {
                "trait": column("Trait", width=80),
                "value": column("Value", width=130),
                "share": numbers("Here", formats.PERCENT_FORMAT),
                "share_of_all": numbers("All", formats.PERCENT_FORMAT),
                "ratio": numbers("Ratio", "%.2f", help="Share here over share among all."),
            },
            alt=f"Traits of {formats.label(segment)} beside all users",
            height=390,
        )


def _habits(page: Page, segment: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    rows = {row["name"]: row for row in segments.habits(page.reading, segment)}
    return rows.get("segment"), rows.get("all")


def _money(value: float) -> str:
    return formats.money(value).replace("$", "\\$")


def _recency_frequency(page: Page) -> None:
    """Draw who booked often and was here lately: the grid from which campaigns are picked."""
    with tile(
        page,
        "Recency and frequency",
        SEGMENTS,
        USERS,
        key="recency-frequency",
        meaning="Users who booked at least once: down how lately, across how often. Scores are quintiles, 5 the best.",
        about="Top right are those to keep, bottom right those to win back.",
    ) as drawn:
        scored = (
            "rfm_recency" in page.reading.columns(SEGMENTS)
            and st.segmented_control(
                "Grid",
                list(GRIDS),
                default="days",
                required=True,
                format_func=GRIDS.__getitem__,
                key="grid",
                bind="query-params",
                label_visibility="collapsed",
            )
            == "scores"
        )
        rows = (segments.quintiles if scored else segments.recency_frequency)(page.reading, page.filters)
        if not rows:
            nothing("No user who matches these filters has booked.")
            return
        down, across = ("Recency score", "Frequency score") if scored else ("Days since seen", "Bookings")
        drawn.shows(rows, {"recency": down, "frequency": across, "users": "Users", "revenue": "Lifetime revenue"})
        values = {(row["recency"], row["frequency"]): float(row["users"]) for row in rows}
        chart(
            charts.grid(
                segments.QUINTILES if scored else segments.RECENCIES,
                segments.QUINTILES[::-1] if scored else segments.FREQUENCIES,
                values,
                across=across,
                down=down,
                mode=mode(),
            ),
            alt=f"Users by {down.lower()} and {across.lower()}",
            height=330,
            key="recency-frequency-chart",
        )
        best = max(rows, key=lambda row: row["revenue"])
        st.caption(
            f"Most revenue: {_money(best['revenue'])} of {formats.plural(best['users'], 'user')} at {down.lower()} "
            f"{best['recency']}, {across.lower()} {best['frequency']}."
        )


def _lift(page: Page) -> None:
    """Draw users who were sent to beside those who were held out: what the messages themselves changed."""
    if LIFT not in page.reading.tables():
        return
    with tile(
        page,
        "What messages change",
        LIFT,
        key="lift",
        meaning=definitions.of(f"{LIFT}.conversion_rate_lift"),
        about="Of syncs with a holdout. Conclusive when the 95 % interval leaves out zero.",
    ) as drawn:
        rows = outcomes.lift(page.reading)
        if not any(row["treated_users"] or row["held_out_users"] for row in rows):
            waiting = sum(row["pending_users"] for row in rows)
            nothing(f"No user's days after a message are over yet; {formats.plural(waiting, 'user')} wait.")
            return
        shares = ("treated_conversion_rate", "held_out_conversion_rate")
        points = ("conversion_rate_lift", "conversion_rate_lift_low", "conversion_rate_lift_high")
        drawn.table(
            [
                row
                | {
                    "sync": formats.label(row["sync"]),
                    "sure": {True: "✓ yes", False: "not yet"}.get(row["is_conclusive"]),
                }
                | {name: None if row[name] is None else 100 * row[name] for name in (*shares, *points)}
                for row in rows
            ],
            {
                "sync": column("Sync", width=190),
                "treated_users": numbers("Treated", help=definitions.of(f"{LIFT}.treated_users")),
                "held_out_users": numbers("Held out", help=definitions.of(f"{LIFT}.held_out_users")),
                "pending_users": numbers("Waiting", help=definitions.of(f"{LIFT}.pending_users")),
                "treated_conversion_rate": numbers(
                    "Booked", "%.2f%%", help=definitions.of(f"{LIFT}.treated_conversion_rate")
                ),
                "held_out_conversion_rate": numbers(
                    "Of held out", "%.2f%%", help=definitions.of(f"{LIFT}.held_out_conversion_rate")
                ),
                "conversion_rate_lift": changes(
                    "Lift", "%+.2f pp", help=definitions.of(f"{LIFT}.conversion_rate_lift")
                ),
                "conversion_rate_lift_low": changes("From", "%+.2f pp", help="Lower end of the 95 % interval."),
                "conversion_rate_lift_high": changes("To", "%+.2f pp", help="Upper end of the 95 % interval."),
                "sure": column("Conclusive", help=definitions.of(f"{LIFT}.is_conclusive")),
            },
            alt="Bookings of treated and of held-out users",
        )


def _recommendations(page: Page) -> None:
    if QUALITY not in page.reading.tables():
        return
    with tile(
        page,
        "How good recommendations are",
        QUALITY,
        key="recommendations",
        meaning=definitions.of(f"{QUALITY}.recall_at_10"),
        about="On weeks that were not learnt from, beside the popular list, which is the same for everybody.",
    ) as drawn:
        rows = outcomes.recommendation_quality(page.reading)
        if not rows:
            nothing("No week was held out yet.")
            return
        drawn.table(
            [
                row
                | {
                    "week": formats.days(row["held_out_from"], row["held_out_until"]),
                    "name": formats.label(row["recommender"]),
                }
                for row in rows
            ],
            {
                "week": column("Week held out", width=170),
                "name": column("Recommender", width=150),
                "users": numbers("Users", help=definitions.of(f"{QUALITY}.users")),
                "recall_at_10": numbers("Recall at 10", "%.3f", help=definitions.of(f"{QUALITY}.recall_at_10")),
                "ndcg_at_10": numbers("NDCG at 10", "%.3f", help=definitions.of(f"{QUALITY}.ndcg_at_10")),
            },
            alt="Quality of recommendations by held-out week",
        )


render(
    open_page(
        "User segments",
        about="Who the users are and where they go",
        tables=[SEGMENTS, HISTORY, TRANSITIONS, USERS],
        applies=("platform", "device_type", "country"),
        compares=False,
        reason="A user comes by many channels: segments are not split by channel.",
    )
)

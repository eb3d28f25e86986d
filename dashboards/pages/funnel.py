"""Search funnel: where do people drop out between a search and a booking, and which of them?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import charts, definitions, filters, formats, theme
from dashboards.filters import DIMENSIONS
from dashboards.frame import Drill, Page, can_drill, changes, chart, column, nothing, numbers, open_page, tile
from dashboards.queries import funnel

FUNNEL, DEMAND = "marts.fct_search_funnel_daily", "marts.mart_destination_demand"
PLACES, CORRECTED = "marts.mart_position_clicks", "marts.mart_position_corrected_clicks"
STEP_COLUMNS = ("searches", "searches_with_results", "searches_with_click", "searches_with_conversion")


def render(page: Page) -> None:
    """Draw the steps, then the steps by one dimension, by destination, by place, then what people asked for in vain."""
    found = funnel.steps(page.reading, page.filters, page.period)
    if not found.searches:
        nothing("No one searched on these days with these filters. Choose more days, or remove a filter.")
        return
    before = funnel.steps(page.reading, page.filters, page.before) if page.before else None
    _steps(page, found, before)
    _breakdown(page)
    _destinations(page)
    _places(page)
    _unserved(page)


def _steps(page: Page, found: funnel.FunnelSteps, before: funnel.FunnelSteps | None) -> None:
    with tile(page, "From search to booking", FUNNEL, key="steps") as drawn:
        left, right = st.columns([4, 5], gap="medium")
        with left:
            chart(charts.funnel(found.steps), alt=_words(found), height=240, key="funnel")
        with right:
            drawn.table(
                _step_rows(found, before),
                {
                    "step": column("Step", width=125),
                    "searches": numbers("Searches", help="; ".join(_meanings())),
                    "of_step_before": numbers("Kept", formats.PERCENT_FORMAT, help="Share of the step before."),
                    "lost": numbers("Lost", help="Searches that got no further."),
                    "change": changes(
                        "Change", "%+.1f pp", help="Percentage points of “Kept” against the days before."
                    ),
                },
                alt="Steps of the funnel with what is lost at each",
            )
            st.caption(
                f"{formats.count(found.clicks)} clicks and {formats.count(found.bookings)} bookings worth "
                f"{formats.money(found.revenue)}. Clicks and bookings count for the day of their search.".replace(
                    "$", "\\$"
                )
            )


def _meanings() -> list[str]:
    return [said for name in STEP_COLUMNS if (said := definitions.of(f"{FUNNEL}.{name}"))]


def _step_rows(found: funnel.FunnelSteps, before: funnel.FunnelSteps | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for place, (name, number) in enumerate(found.steps):
        share = _share(found, place)
        then = _share(before, place) if before else None
        rows.append(
            {
                "step": name,
                "searches": number,
                "of_step_before": None if share is None else share * 100,
                "lost": found.steps[place - 1][1] - number if place else None,
                "change": None if share is None or then is None else (share - then) * 100,
            }
        )
    return rows


def _share(found: funnel.FunnelSteps, place: int) -> float | None:
    """Return the share of the step before that got to this step."""
    previous = found.steps[place - 1][1] if place else 0
    return found.steps[place][1] / previous if previous else None


def _words(found: funnel.FunnelSteps) -> str:
    return "; ".join(f"{name}: {formats.count(number)}" for name, number in found.steps)


def _breakdown(page: Page) -> None:
    with tile(
        page,
        "Who drops out",
        FUNNEL,
        key="breakdown",
        about="The share of searches that led to a booking. Click a bar to see only that.",
    ) as drawn:
        dimension = (
            st.segmented_control(
                "By",
                list(DIMENSIONS),
                default="channel",
                required=True,
                format_func=DIMENSIONS.__getitem__,
                key="by",
                bind="query-params",
                label_visibility="collapsed",
            )
            or "channel"
        )
        rows = funnel.by(page.reading, page.filters, page.period, dimension)
        names = [filters.show(dimension, row["value"]) for row in rows]
        left, right = st.columns([3, 7], gap="medium")
        with left:
            option = charts.ranked(
                names[:12],
                [100 * row["booking_rate"] for row in rows[:12]],
                labels=[formats.percent(row["booking_rate"], 2) for row in rows[:12]],
                name="Conversion",
                tooltip="%.2f%%",
            )
            chart(
                option,
                alt=f"Conversion by {DIMENSIONS[dimension].lower()}",
                height=60 + 30 * len(names[:12]),
                key="by-chart",
                drill=Drill(dimension, [row["value"] for row in rows[:12]]) if can_drill(page, dimension) else None,
            )
        with right:
            drawn.table(
                [
                    row
                    | {"name": name}
                    | {key: 100 * row[key] for key in ("results_rate", "click_rate", "booking_rate")}
                    for name, row in zip(names, rows, strict=True)
                ],
                {
                    "name": column(DIMENSIONS[dimension], width=105),
                    "searches": numbers("Searches", help=definitions.of(f"{FUNNEL}.searches")),
                    "results_rate": numbers("Results", "%.1f%%", help="Share of searches that found something."),
                    "click_rate": numbers("Click", "%.1f%%", help="Share of searches with a click."),
                    "booking_rate": numbers("Booking", "%.2f%%", help="Share of searches that led to a booking."),
                    "bookings": numbers("Bookings", help=definitions.of(f"{FUNNEL}.conversions")),
                    "revenue": numbers("Revenue", formats.MONEY_FORMAT, help=definitions.of(f"{FUNNEL}.revenue")),
                    "revenue_per_search": numbers("Per search", formats.CENTS_FORMAT, help="Revenue per search."),
                },
                alt=f"Funnel by {DIMENSIONS[dimension].lower()}",
                height=420 if len(rows) > 11 else "auto",
            )


def _destinations(page: Page) -> None:
    if DEMAND not in page.reading.tables():
        return
    with tile(
        page,
        "Where they want to go",
        DEMAND,
        key="destinations",
        meaning=definitions.of(f"{DEMAND}.destination"),
        about="The places most searched for, all visitors together: of the filters, only the days reach this table.",
    ) as drawn:
        rows = funnel.destinations(page.reading, page.period, page.before)
        if not rows:
            nothing("No search of these days named a place that is known.")
            return
        drawn.table(
            [
                row | {name: None if row[name] is None else 100 * row[name] for name in ("zero_result_rate", "change")}
                for row in rows
            ],
            {
                "destination": column("Destination", width=120),
                "searches": numbers("Searches", help=definitions.of(f"{DEMAND}.searches")),
                "change": changes("Change", help="Searches against the days of comparison."),
                "clicks_per_search": numbers("Clicks a search", "%.2f", help=definitions.of(f"{DEMAND}.clicks")),
                "bookings": numbers("Bookings", help=definitions.of(f"{DEMAND}.bookings")),
                "look_to_book": numbers("Look-to-book", "%,.0f", help=definitions.of(f"{DEMAND}.look_to_book")),
                "revenue": numbers("Revenue", formats.MONEY_FORMAT, help=definitions.of(f"{DEMAND}.revenue")),
                "revenue_per_search": numbers(
                    "Per search", formats.CENTS_FORMAT, help=definitions.of(f"{DEMAND}.revenue_per_search")
                ),
                "lead_time_days": numbers("Lead time", "%.0f d", help=definitions.of(f"{DEMAND}.avg_lead_time_days")),
                "zero_result_rate": numbers(
                    "In vain", formats.PERCENT_FORMAT, help=definitions.of(f"{DEMAND}.zero_result_searches")
                ),
            },
            alt="Demand by destination, the most searched for first",
            height=390,
        )


def _places(page: Page) -> None:
    """Draw what the place in the list does, and what is left when it is accounted for."""
    if not {PLACES, CORRECTED} <= page.reading.tables():
        return
    left, right = st.columns(2, gap="small")
    with (
        left,
        tile(
            page,
            "By place in the list",
            PLACES,
            key="places",
            meaning=definitions.of(f"{PLACES}.click_rate"),
            about="How likely a result is the first one clicked. All visitors, the last 90 days.",
        ) as drawn,
    ):
        rows = funnel.positions(page.reading)
        if rows:
            drawn.shows(rows, {"position": "Place", "searches_shown": "Shown", "first_clicks": "First clicks"})
            chart(
                charts.columns(
                    [str(row["position"]) for row in rows],
                    [100 * row["click_rate"] for row in rows],
                    name="First clicks",
                    suffix="%",
                    tooltip="%.2f%%",
                ),
                alt="Click rate by place in the list",
                height=260,
                key="places-chart",
            )
        else:
            nothing("No click has a place yet.")
    with (
        right,
        tile(
            page,
            "Better than their place",
            CORRECTED,
            key="corrected",
            meaning=definitions.of(f"{CORRECTED}.coec"),
            about="Clicks over the clicks that the places alone explain: above 1, results are better than their places.",
        ) as drawn,
    ):
        dimension = st.session_state.get("by", "channel")
        dimension = dimension if dimension in funnel.CORRECTED else "channel"
        found = funnel.corrected_clicks(page.reading, page.filters, page.period, dimension)
        if found:
            names = [filters.show(dimension, row["value"]) for row in found]
            drawn.table(
                [
                    row | {"name": name, "click_rate": 100 * row["click_rate"]}
                    for name, row in zip(names, found, strict=True)
                ],
                {
                    "name": column(DIMENSIONS[dimension], width=105),
                    "searches": numbers("Searches", help=definitions.of(f"{CORRECTED}.searches")),
                    "click_rate": numbers("Click", "%.1f%%", help=definitions.of(f"{CORRECTED}.click_rate")),
                    "expected_clicks": numbers("Expected", help=definitions.of(f"{CORRECTED}.expected_clicks")),
                    "searches_with_click": numbers("Clicked", help=definitions.of(f"{CORRECTED}.searches_with_click")),
                    "coec": numbers("Ratio", "%.3f", help=definitions.of(f"{CORRECTED}.coec")),
                },
                alt="Clicks over expected clicks",
            )
        else:
            nothing("These days are older than the 90 days that the corrected rate is kept for.")


def _unserved(page: Page) -> None:
    """Draw demand that no provider served: how much of it, and for where."""
    if DEMAND not in page.reading.tables():
        return
    left, right = st.columns(2, gap="small")
    with (
        left,
        tile(
            page, "Asked for in vain", FUNNEL, key="vain", meaning=definitions.of(f"{FUNNEL}.zero_result_searches")
        ) as drawn,
    ):
        daily = funnel.vain_by_day(page.reading, page.filters, page.period)
        drawn.shows(daily, {"day": "Day", "zero_result_searches": "Searches in vain", "share": "Share of searches"})
        chart(
            charts.trend(
                [row["day"] for row in daily],
                [None if row["share"] is None else 100 * row["share"] for row in daily],
                name="Share of searches that found nothing",
                suffix="%",
                tooltip="%.1f%%",
                color=theme.VERMILION,
            ),
            alt="Share of searches that found nothing, by day",
            height=300,
            key="vain-chart",
        )
    with (
        right,
        tile(
            page,
            "Places asked for in vain",
            DEMAND,
            key="unserved",
            about="All visitors together: of the filters, only the days reach this table.",
        ) as drawn,
    ):
        rows = funnel.unserved(page.reading, page.period)
        if not rows:
            nothing("Every known destination that people asked for had results on these days.")
            return
        drawn.table(
            [row | {"zero_result_rate": 100 * row["zero_result_rate"]} for row in rows],
            {
                "destination": column("Destination", width=120),
                "zero_result_searches": numbers("In vain", help=definitions.of(f"{DEMAND}.zero_result_searches")),
                "zero_result_rate": numbers("Share", formats.PERCENT_FORMAT),
                "searches": numbers("Of searches", help=definitions.of(f"{DEMAND}.searches")),
            },
            alt="Destinations with searches that found nothing",
            height=300,
        )


render(open_page("Search funnel", about="From a search to a booking", tables=[FUNNEL]))

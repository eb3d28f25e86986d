"""Search funnel: where do people drop out between a search and a booking, and which of them?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import charts, filters, formats
from dashboards.filters import DIMENSIONS
from dashboards.frame import Page, chart, column, nothing, numbers, open_page, table
from dashboards.queries import funnel


def render(page: Page) -> None:
    """The steps, then the same by one dimension, then what people asked for in vain."""
    found = funnel.steps(page.reading, page.filters, page.period)
    if not found.searches:
        nothing("Nobody searched on these days with these filters. Choose more days, or remove a filter.")
        return
    before_period = page.period.previous()
    before = funnel.steps(page.reading, page.filters, before_period) if before_period.within(page.known) else None
    _steps(page, found, before)
    _breakdown(page)
    _unserved(page)


def _steps(page: Page, found: funnel.Funnel, before: funnel.Funnel | None) -> None:
    left, right = st.columns([4, 5], gap="medium")
    with left:
        st.subheader("From search to booking", anchor=False)
        chart(charts.funnel(found.steps), alt=_in_words(found), height=260, key="funnel")
    with right:
        st.subheader("Where they drop out", anchor=False)
        table(
            _step_rows(found, before),
            {
                "step": column("Step", width=125),
                "searches": numbers("Searches"),
                "of_step_before": numbers("Kept", formats.PERCENT_FORMAT, help="Share of the step before."),
                "lost": numbers("Lost", help="Searches that got no further."),
                "change": numbers(
                    "Change",
                    "%+.1f pp",
                    help=f"Percentage points against the {formats.plural(page.period.days, 'day')} before.",
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


def _step_rows(found: funnel.Funnel, before: funnel.Funnel | None) -> list[dict[str, Any]]:
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


def _share(found: funnel.Funnel, place: int) -> float | None:
    """Share of the step before that got here."""
    previous = found.steps[place - 1][1] if place else 0
    return found.steps[place][1] / previous if previous else None


def _in_words(found: funnel.Funnel) -> str:
    return "; ".join(f"{name}: {formats.count(number)}" for name, number in found.steps)


def _breakdown(page: Page) -> None:
    st.subheader("Who drops out", anchor=False)
    dimension = st.segmented_control(
        "By",
        list(DIMENSIONS),
        default="channel",
        required=True,
        format_func=DIMENSIONS.__getitem__,
        key="by",
        bind="query-params",
        label_visibility="collapsed",
    )
    rows = funnel.by(page.reading, page.filters, page.period, dimension or "channel")
    names = [filters.show(dimension or "channel", row["value"]) for row in rows]
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.markdown("**Searches that led to a booking**")
        option = charts.ranked(
            names[:12],
            [100 * row["booking_rate"] for row in rows[:12]],
            labels=[formats.percent(row["booking_rate"], 2) for row in rows[:12]],
            name="Conversion",
            tooltip="%.2f%%",
        )
        chart(
            option,
            alt=f"Conversion by {DIMENSIONS[dimension or 'channel'].lower()}",
            height=60 + 30 * len(names[:12]),
            key="by-chart",
        )
    with right:
        shown = [
            row | {"name": name} | {key: 100 * row[key] for key in ("results_rate", "click_rate", "booking_rate")}
            for name, row in zip(names, rows, strict=True)
        ]
        table(
            shown,
            {
                "name": column(DIMENSIONS[dimension or "channel"], width=110),
                "searches": numbers("Searches"),
                "results_rate": numbers(
                    "Results", formats.PERCENT_FORMAT, help="Share of searches that found something."
                ),
                "click_rate": numbers("Click", formats.PERCENT_FORMAT, help="Share of searches with a click."),
                "booking_rate": numbers("Booking", "%.2f%%", help="Share of searches that led to a booking."),
                "bookings": numbers("Bookings"),
                "revenue": numbers("Revenue", formats.MONEY_FORMAT),
                "revenue_per_search": numbers("Per search", formats.CENTS_FORMAT, help="Revenue per search."),
            },
            alt=f"Funnel by {DIMENSIONS[dimension or 'channel'].lower()}",
        )


def _unserved(page: Page) -> None:
    if "marts.mart_destination_demand" not in page.reading.tables():
        return
    rows = funnel.unserved(page.reading, page.period)
    st.subheader("Asked for in vain", anchor=False)
    if not rows:
        nothing("Every known destination that people asked for had results on these days.")
        return
    st.caption(
        "Destinations whose searches found nothing, all visitors together: the filters above do not reach this table."
    )
    table(
        [row | {"destination": row["destination"], "zero_result_rate": 100 * row["zero_result_rate"]} for row in rows],
        {
            "destination": column("Destination", width="medium"),
            "zero_result_searches": numbers("In vain", help="Searches that found nothing."),
            "zero_result_rate": numbers("Share", formats.PERCENT_FORMAT),
            "searches": numbers("Of searches"),
            "bookings": numbers("Bookings"),
        },
        alt="Destinations with searches that found nothing",
    )


render(
    open_page(
        "Search funnel",
        about="From a search to a booking",
        tables=["marts.fct_search_funnel_daily"],
    )
)

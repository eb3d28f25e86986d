"""Executive overview: is the business better than before, and since when?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import streamlit as st

from dashboards import charts, filters, formats
from dashboards.frame import Page, chart, nothing, open_page
from dashboards.periods import Period
from dashboards.queries import kpis
from dashboards.queries.kpis import Kpis

SMOOTH = 7
# Longer periods are drawn by week: a bar a day would be a hair.
DAILY_UP_TO = 120


@dataclass(frozen=True)
class Tile:
    """One figure: how to get it, how to write it and its change, whether less is better, and what it means."""

    label: str
    value: Callable[[Kpis], float | None]
    written: Callable[[float | None], str]
    meaning: str
    less_is_better: bool = False
    share: bool = False


TILES = (
    Tile("Revenue", lambda k: k.revenue, formats.money, "Booked value in CA$."),
    Tile("Bookings", lambda k: k.conversions, formats.count, "Conversions: bookings made."),
    Tile("Average booking", lambda k: k.avg_booking_value, formats.money, "Revenue per booking."),
    Tile(
        "Revenue per search",
        lambda k: k.revenue_per_search,
        formats.money,
        "What the searches brought, per search.",
    ),
    Tile("Searches", lambda k: k.searches, formats.count, "Searches by people; bots are left out."),
    Tile(
        "Click-through", lambda k: k.click_through_rate, formats.percent, "Share of searches with a click.", share=True
    ),
    Tile(
        "Conversion",
        lambda k: k.conversion_rate,
        lambda v: formats.percent(v, 2),
        "Share of searches that led to a booking within 30 days; the newest days can still grow.",
        share=True,
    ),
    Tile(
        "Nothing found",
        lambda k: k.zero_result_rate,
        formats.percent,
        "Share of searches that found nothing. Less is better.",
        less_is_better=True,
        share=True,
    ),
)


def render(page: Page) -> None:
    """Tiles, trends, and where the change came from."""
    if page.filters.any_dimension:
        st.caption(
            "With a filter, bookings and revenue are those that the days' searches led to; without one, those made on "
            "the days."
        )
    now = kpis.daily(page.reading, page.filters, page.period.earlier(SMOOTH - 1))
    shown = now[SMOOTH - 1 :]
    if not kpis.total(shown).searches and not kpis.total(shown).conversions:
        nothing("Nothing happened on these days with these filters. Choose more days, or remove a filter.")
        return
    before, year = _compared(page, page.period.previous()), _compared(page, page.period.year_before())
    _tiles(shown, before, year)
    st.subheader("Revenue", anchor=False)
    _trend(
        page,
        now,
        lambda k: k.revenue,
        "Revenue",
        prefix=formats.CURRENCY,
        tooltip=formats.MONEY_FORMAT,
        bars=True,
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Conversion", anchor=False)
        _trend(
            page,
            now,
            lambda k: _times_100(k.conversion_rate),
            "Searches that led to a booking",
            suffix="%",
            tooltip="%.2f%%",
        )
    with right:
        st.subheader("Searches", anchor=False)
        _trend(page, now, lambda k: k.searches, "Searches", tooltip="%,.0f", bars=True)
    _movers(page)


def _compared(page: Page, period: Period) -> Kpis | None:
    """The sums of another period; None when its days are not all known."""
    return kpis.total(kpis.daily(page.reading, page.filters, period)) if period.within(page.known) else None


def _tiles(shown: Sequence[tuple[date, Kpis]], before: Kpis | None, year: Kpis | None) -> None:
    total = kpis.total(list(shown))
    with st.grid(4, gap="small", min_column_width=155):
        for tile in TILES:
            value = tile.value(total)
            delta = _delta(tile, value, tile.value(before) if before else None)
            with st.container(
                border=True, gap="xxsmall", height="stretch", key=f"tile-{tile.label.lower().replace(' ', '-')}"
            ):
                st.metric(
                    tile.label,
                    tile.written(value),
                    delta,
                    delta_color="inverse" if tile.less_is_better else "normal",
                    delta_description="vs previous" if delta is not None else None,
                    help=tile.meaning,
                    chart_data=_sparkline(shown, tile),
                    chart_type="area",
                )
                st.caption(_last_year(tile, value, year))


def _delta(tile: Tile, value: float | None, before: float | None) -> str | int | None:
    """Streamlit reads the sign of the text for arrow and colour; a number 0 is grey."""
    return (
        0 if (text := _change(tile, value, before)) and not text.strip("+−0.%p ") else text and text.replace("−", "-")
    )


def _change(tile: Tile, value: float | None, before: float | None) -> str | None:
    """In percent; of a share in percentage points, because percent of percent mislead."""
    if value is None or before is None:
        return None
    if tile.share:
        return f"{'+' if value >= before else '−'}{abs(value - before) * 100:.2f} pp"
    change = formats.change(value, before)
    return None if change is None else formats.signed_percent(change)


def _last_year(tile: Tile, value: float | None, year: Kpis | None) -> str:
    then = tile.value(year) if year else None
    change = _change(tile, value, then)
    if change is None:
        return "No comparison a year ago"
    return f"{change} on {tile.written(then)} a year ago".replace("$", "\\$")


def _sparkline(shown: Sequence[tuple[date, Kpis]], tile: Tile) -> list[float] | None:
    """At most 60 points: means of neighbouring days for long periods."""
    if len(shown) < 2:
        return None
    step = -(-len(shown) // 60)
    groups = [kpis.total(list(shown[start : start + step])) for start in range(len(shown) % step, len(shown), step)]
    return [tile.value(group) or 0 for group in groups]


def _trend(
    page: Page,
    now: Sequence[tuple[date, Kpis]],
    value: Callable[[Kpis], float | None],
    name: str,
    *,
    prefix: str = "",
    suffix: str = "",
    tooltip: str,
    bars: bool = False,
) -> None:
    """By day with a 7-day average, or by week; beside it the same a year before."""
    weekly = page.period.days > DAILY_UP_TO
    days, values = _weeks(now, value) if weekly else _days(now, value)
    smooth = None if weekly else _averages(now, value, page.known)
    before = _a_year_before(page, value, weekly=weekly, places=len(days))
    if not bars and smooth is not None:
        values, smooth = smooth, None
    option = charts.trend(
        days,
        values,
        name=name + (", by week" if weekly else "" if bars else ", 7-day average"),
        smooth=smooth,
        before=before,
        prefix=prefix,
        suffix=suffix,
        tooltip=tooltip,
        digits=4,
    )
    chart(option, alt=f"{name} from {formats.day(days[0])} to {formats.day(days[-1])}", key=f"trend-{name}")


def _days(
    daily: Sequence[tuple[date, Kpis]], value: Callable[[Kpis], float | None]
) -> tuple[list[date], list[float | None]]:
    shown = daily[SMOOTH - 1 :]
    return [day for day, _ in shown], [value(kpi) for _, kpi in shown]


def _averages(
    daily: Sequence[tuple[date, Kpis]], value: Callable[[Kpis], float | None], known: Period
) -> list[float | None]:
    """Of seven days, all of them known: a rate of the seven days' sums, a sum divided by seven."""
    averages: list[float | None] = []
    for place in range(SMOOTH - 1, len(daily)):
        week = daily[place - SMOOTH + 1 : place + 1]
        total = kpis.total(list(week))
        mean = Kpis(**{name: getattr(total, name) / SMOOTH for name in kpis.COLUMNS})
        averages.append(value(mean) if week[0][0] >= known.first else None)
    return averages


def _weeks(
    daily: Sequence[tuple[date, Kpis]], value: Callable[[Kpis], float | None]
) -> tuple[list[date], list[float | None]]:
    """Whole weeks counted back from the last day, each by its first day; what is left at the beginning is dropped."""
    shown = daily[SMOOTH - 1 :]
    starts = range(len(shown) % 7, len(shown), 7)
    return [shown[start][0] for start in starts], [
        value(kpis.total(list(shown[start : start + 7]))) for start in starts
    ]


def _a_year_before(
    page: Page, value: Callable[[Kpis], float | None], *, weekly: bool, places: int
) -> list[float | None]:
    """The same line a year before, place by place; a leap day more or less is cut or left empty at the beginning."""
    year = page.period.year_before()
    if year.last < page.known.first:
        return [None] * places
    then = kpis.daily(page.reading, page.filters, year.earlier(SMOOTH - 1))
    if weekly:
        days, sums = _weeks(then, value)
        values = [one if day >= page.known.first else None for day, one in zip(days, sums, strict=True)]
    else:
        values = _averages(then, value, page.known)
    return [None] * (places - len(values)) + values[-places:]


def _times_100(share: float | None) -> float | None:
    return None if share is None else share * 100


def _movers(page: Page) -> None:
    """What gained and lost most against the period before."""
    before = page.period.previous()
    if not before.within(page.known):
        return
    st.subheader("What changed", anchor=False)
    st.caption(
        f"Revenue of the days' searches against the {formats.plural(page.period.days, 'day')} before "
        f"({formats.days(before.first, before.last)})."
    )
    for column, dimension in zip(st.columns(2, gap="medium"), ("channel", "country"), strict=True):
        rows = kpis.movers(page.reading, page.filters, page.period, before, dimension)
        rows.sort(key=lambda row: row["revenue_before"] - row["revenue_now"])
        with column:
            names = [filters.show(dimension, row["value"]) for row in rows]
            option = charts.changes(names, [row["revenue_now"] - row["revenue_before"] for row in rows])
            st.markdown(f"**By {dimension}**")
            chart(option, alt=f"Change of revenue by {dimension}", height=250, key=f"movers-{dimension}")


render(
    open_page(
        "Executive overview",
        about="How the business does",
        tables=["marts.mart_kpi_daily", "marts.fct_search_funnel_daily"],
    )
)

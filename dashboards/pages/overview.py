"""Executive overview: is the business better than before, and since when?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import streamlit as st

from dashboards import charts, definitions, filters, formats, sparkline, theme
from dashboards.filters import DIMENSIONS
from dashboards.frame import (
    Drill,
    Page,
    Tile,
    can_drill,
    changes,
    chart,
    column,
    nothing,
    numbers,
    open_page,
    tile,
    yesterday,
)
from dashboards.periods import Period
from dashboards.queries import kpis
from dashboards.queries.kpis import Kpis

SMOOTH = 7
# Longer periods are drawn by week: a bar for each day would be as thin as a hair.
DAILY_UP_TO = 120


@dataclass(frozen=True)
class Figure:
    """One figure: how to get it, how to write it and its change, whether less is better, and where its meaning stands.
    One figure: how to get it, how to write it and its change, whether less is better, and where its meaning stands."""

    label: str
    value: Callable[[Kpis], float | None]
    written: Callable[[float | None], str]
    column: str
    less_is_better: bool = False
    share: bool = False


FIGURES = (
    Figure("Revenue", lambda k: k.revenue, formats.money, "revenue"),
    Figure("Bookings", lambda k: k.conversions, formats.count, "conversions"),
    Figure("Average booking", lambda k: k.avg_booking_value, formats.money, "avg_booking_value"),
    Figure("Revenue per search", lambda k: k.revenue_per_search, formats.money, "revenue_per_search"),
    Figure("Searches", lambda k: k.searches, formats.count, "searches"),
    Figure("Click-through", lambda k: k.click_through_rate, formats.percent, "click_through_rate", share=True),
    Figure(
        "Conversion",
        lambda k: k.conversion_rate,
        lambda v: formats.percent(v, 2),
        "conversion_rate",
        share=True,
    ),
    Figure(
        "Nothing found",
        lambda k: k.zero_result_rate,
        formats.percent,
        "zero_result_rate",
        less_is_better=True,
        share=True,
    ),
)
KPI, FUNNEL = "marts.mart_kpi_daily", "marts.fct_search_funnel_daily"


def render(page: Page) -> None:
    """Draw figures, trends, weeks and months, and where the change came from."""
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
    _figures(page, shown)
    with tile(page, "Revenue", _source(page), key="revenue", meaning=_meaning(page, "revenue")) as drawn:
        _trend(page, drawn, now, FIGURES[0], prefix=formats.CURRENCY, tooltip=formats.MONEY_FORMAT, bars=True)
    left, right = st.columns(2, gap="small")
    with (
        left,
        tile(page, "Conversion", _source(page), key="conversion", meaning=_meaning(page, "conversion_rate")) as drawn,
    ):
        _trend(page, drawn, now, FIGURES[6], suffix="%", tooltip="%.2f%%")
    with right, tile(page, "Searches", _source(page), key="searches", meaning=_meaning(page, "searches")) as drawn:
        _trend(page, drawn, now, FIGURES[4], tooltip="%,.0f", bars=True)
    _spans(page)
    _movers(page)


def _source(page: Page) -> str:
    """Return the table that the figures come from."""
    return FUNNEL if page.filters.any_dimension else KPI


def _meaning(page: Page, column: str) -> str | None:
    """Return what a figure means, in the words of the model that it comes from."""
    return definitions.of(f"{_source(page)}.{column}") or definitions.of(f"{KPI}.{column}")


def _figures(page: Page, shown: Sequence[tuple[date, Kpis]]) -> None:
    total = kpis.total(list(shown))
    before = _compared(page, page.before)
    chosen_year = page.before == page.period.year_before()
    other = _compared(page, page.period.previous() if chosen_year else page.period.year_before())
    stamp = page.trust.stamp(_source(page))
    with st.grid(4, gap="small", min_column_width=155):
        for figure in FIGURES:
            value = figure.value(total)
            delta = _delta(figure, value, figure.value(before) if before else None)
            with st.container(
                border=True,
                gap="xxsmall",
                height="stretch",
                key=f"tile-{figure.label.lower().replace(' ', '-')}-figure",
            ):
                st.metric(
                    figure.label,
                    figure.written(value),
                    delta,
                    delta_color="inverse" if figure.less_is_better else "normal",
                    delta_description=page.before_words if delta is not None else None,
                    help=_meaning(page, figure.column),
                )
                line = _sparkline(shown, figure)
                if line:
                    st.image(sparkline.svg(line, theme.NOW), width="stretch", alt="")
                compared = _in_words(figure, value, other, "in the days before" if chosen_year else "a year ago")
                st.caption(f"{compared}  \n{stamp.short}", help=stamp.details)


def _compared(page: Page, period: Period | None) -> Kpis | None:
    """Return the sums of another period; None when its days are not all known."""
    if period is None or not period.within(page.known):
        return None
    return kpis.total(kpis.daily(page.reading, page.filters, period))


def _delta(figure: Figure, value: float | None, before: float | None) -> str | int | None:
    """Return the change for Streamlit, which reads the text's sign for arrow and colour; a number 0 is grey."""
    text = _change(figure, value, before)
    return 0 if text and not text.strip("+−0.%p ") else text and text.replace("−", "-")


def _change(figure: Figure, value: float | None, before: float | None) -> str | None:
    """Return a change in percent; of a share in percentage points, because percent of percent mislead."""
    if value is None or before is None:
        return None
    if figure.share:
        return f"{'+' if value >= before else '−'}{abs(value - before) * 100:.2f} pp"
    change = formats.change(value, before)
    return None if change is None else formats.signed_percent(change)


def _in_words(figure: Figure, value: float | None, other: Kpis | None, when: str) -> str:
    then = figure.value(other) if other else None
    change = _change(figure, value, then)
    if change is None:
        return f"No comparison {when}"
    return f"{change} on {figure.written(then)} {when}".replace("$", "\\$")


def _sparkline(shown: Sequence[tuple[date, Kpis]], figure: Figure) -> list[float] | None:
    """Return at most 60 points: means of neighbouring days for long periods."""
    if len(shown) < 2:
        return None
    step = -(-len(shown) // 60)
    groups = [kpis.total(list(shown[start : start + step])) for start in range(len(shown) % step, len(shown), step)]
    return [figure.value(group) or 0 for group in groups]


def _trend(
    page: Page,
    drawn: Tile,
    now: Sequence[tuple[date, Kpis]],
    figure: Figure,
    *,
    prefix: str = "",
    suffix: str = "",
    tooltip: str,
    bars: bool = False,
) -> None:
    """Draw a trend by day with a 7-day average, or by week; beside it the trend of a year before."""

    def value(kpi: Kpis) -> float | None:
        found = figure.value(kpi)
        return found * 100 if figure.share and found is not None else found

    name = figure.label
    weekly = page.period.days > DAILY_UP_TO
    days, values = _weeks(now, value) if weekly else _days(now, value)
    drawn.shows(
        [{"day": day.isoformat(), "value": one} for day, one in zip(days, values, strict=True)],
        {"day": "Week from" if weekly else "Day", "value": f"{name}{f' ({suffix})' if suffix else ''}"},
    )
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
    """Return averages of seven days, all of them known: a rate of the seven days' sums, a sum divided by seven."""
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
    """Return whole weeks counted back from the last day, each by its first day; what is left at the beginning is
    dropped."""
    shown = daily[SMOOTH - 1 :]
    starts = range(len(shown) % 7, len(shown), 7)
    return [shown[start][0] for start in starts], [
        value(kpis.total(list(shown[start : start + 7]))) for start in starts
    ]


def _a_year_before(
    page: Page, value: Callable[[Kpis], float | None], *, weekly: bool, places: int
) -> list[float | None]:
    """Return the line of a year before, place by place; a leap day more or less is cut or left empty at the beginning.
    Return the line of a year before, place by place; a leap day more or less is cut or left empty at the beginning."""
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


def _spans(page: Page) -> None:
    """Draw whole days, weeks or months beside those before and a year before, whatever days are chosen above."""
    with tile(
        page,
        "Day by day, week by week, month by month",
        _source(page),
        key="spans",
        about="Whole ones only, the newest first; a year before is the same month, or 52 weeks earlier.",
    ) as drawn:
        grain = st.segmented_control(
            "Grain",
            list(kpis.GRAINS),
            default="week",
            required=True,
            format_func=kpis.GRAINS.__getitem__,
            key="grain",
            bind="query-params",
            label_visibility="collapsed",
        )
        daily = kpis.daily(page.reading, page.filters, page.known)
        found = kpis.spans(daily, grain or "week", last_over=yesterday(page.now))
        if not found:
            nothing(f"No whole {grain} is known yet.")
            return
        drawn.table(
            [_span_row(span, grain or "week") for span in found],
            {
                "span": column(kpis.GRAINS[grain or "week"], width=150),
                "revenue": numbers("Revenue", formats.MONEY_FORMAT, help=_meaning(page, "revenue")),
                "revenue_before": changes("vs before", help="Revenue against the one before."),
                "revenue_year": changes("vs year", help="Revenue against a year before."),
                "conversions": numbers("Bookings", help=_meaning(page, "conversions")),
                "conversions_before": changes("vs before ", help="Bookings against the one before."),
                "conversions_year": changes("vs year ", help="Bookings against a year before."),
                "searches": numbers("Searches", help=_meaning(page, "searches")),
                "searches_before": changes("vs before  ", help="Searches against the one before."),
                "conversion": numbers("Conversion", "%.2f%%", help=_meaning(page, "conversion_rate")),
                "conversion_before": changes("vs before   ", "%+.2f pp", help="Conversion against the one before."),
            },
            alt="Figures by day, week or month with their changes",
        )


def _span_row(span: kpis.Span, grain: str) -> dict[str, object]:
    def relative(name: str, then: Kpis | None) -> float | None:
        change = formats.change(getattr(span.now, name), getattr(then, name)) if then else None
        return None if change is None else 100 * change

    rate, then = span.now.conversion_rate, span.before.conversion_rate if span.before else None
    return {
        "span": f"{span.period.first:%B %Y}" if grain == "month" else formats.days(span.period.first, span.period.last),
        **{name: getattr(span.now, name) for name in ("revenue", "conversions", "searches")},
        **{f"{name}_before": relative(name, span.before) for name in ("revenue", "conversions", "searches")},
        **{f"{name}_year": relative(name, span.year) for name in ("revenue", "conversions")},
        "conversion": None if rate is None else 100 * rate,
        "conversion_before": None if rate is None or then is None else 100 * (rate - then),
    }


def _movers(page: Page) -> None:
    """Draw what gained and lost most against the days of comparison."""
    if page.before is None:
        return
    with tile(
        page,
        "Best and worst movers",
        FUNNEL,
        key="movers",
        about=f"Revenue of the days' searches against {formats.days(page.before.first, page.before.last)}. "
        "Click a bar to see only that.",
    ) as drawn:
        by = st.segmented_control(
            "By",
            list(kpis.MOVERS),
            default="channel",
            required=True,
            format_func=lambda name: DIMENSIONS.get(name, "Destination"),
            key="movers",
            bind="query-params",
            label_visibility="collapsed",
        )
        dimension = by or "channel"
        rows = kpis.movers(page.reading, page.filters, page.period, page.before, dimension)
        if not rows:
            nothing("Nothing changed.")
            return
        names = [filters.show(dimension, row["value"]) for row in rows]
        left, right = st.columns([4, 7], gap="medium")
        with left:
            chart(
                charts.changes(names, [row["change"] for row in rows]),
                alt=f"Change of revenue by {dimension}",
                height=44 + 34 * len(rows),
                key="movers-chart",
                drill=Drill(dimension, [row["value"] for row in rows])
                if dimension in DIMENSIONS and can_drill(page, dimension)
                else None,
            )
        with right:
            drawn.table(
                [
                    row | {"name": name, "relative": None if row["relative"] is None else 100 * row["relative"]}
                    for name, row in zip(names, rows, strict=True)
                ],
                {
                    "name": column(DIMENSIONS.get(dimension, "Destination"), width=120),
                    "revenue_now": numbers("Revenue", formats.MONEY_FORMAT, help=definitions.of(f"{FUNNEL}.revenue")),
                    "revenue_before": numbers("Before", formats.MONEY_FORMAT),
                    "change": changes(f"Change ({formats.CURRENCY})", "%+,.0f"),
                    "relative": changes("In percent"),
                    "searches_now": numbers("Searches", help=definitions.of(f"{FUNNEL}.searches")),
                },
                alt=f"Revenue by {dimension} now and before, the best first",
            )


render(
    open_page(
        "Executive overview",
        about="How the business does",
        tables=[KPI, FUNNEL],
    )
)

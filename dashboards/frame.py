"""What every page has: its title, the filters, the trust line, and words for when there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import filters, formats, theme
from dashboards.charts import Option
from dashboards.filters import DIMENSIONS, Filters
from dashboards.periods import Period
from dashboards.queries import choices, trust
from dashboards.source import NotBuiltError, Reading

FILTER_TABLES = ("marts.mart_kpi_daily", "marts.fct_search_funnel_daily")
"""Days and values to choose from are read from these, on every page."""
COMPLETE = 0.9995
"""From here on a day's share is rounded to 100.0 %, and not worth a word."""


@dataclass(frozen=True)
class Visit:
    """One run of the script: the snapshot it reads and the moment it began."""

    reading: Reading
    now: datetime


@dataclass(frozen=True)
class Page:
    """What a page draws from."""

    reading: Reading
    now: datetime
    known: Period
    period: Period
    filters: Filters


visit: ContextVar[Visit] = ContextVar("visit")
"""Set by `app.py` for the page it runs."""


def open_page(
    title: str,
    *,
    about: str,
    tables: Sequence[str],
    applies: Sequence[str] = tuple(DIMENSIONS),
    reason: str = "",
    compares: bool = True,
) -> Page:
    """Draw the top of a page and return what it draws from.

    `tables` are those it shows: they must exist, and their gates count. `applies` are the filters that its data know;
    the others are drawn disabled, with the `reason`. `compares` says that the page shows changes.

    Raises:
        NotBuiltError: a table does not exist yet, or holds nothing.
    """
    reading, now = visit.get().reading, visit.get().now
    st.title(title, anchor=False)
    reading.require(*dict.fromkeys((*FILTER_TABLES, *tables)))
    known = choices.calendar(reading)
    if known is None:
        raise NotBuiltError(["marts.mart_kpi_daily"])
    period, chosen = filters.in_sidebar(known, yesterday(now), choices.values(reading), applies=applies, reason=reason)
    words = [about, _days_in_words(period, known if compares else None)]
    if chosen.any_dimension:
        words.append(f"only **{formats.plain(chosen.words())}**")
    st.markdown(" · ".join(words))
    suites = trust.outcomes(reading, list(tables))
    completeness = _completeness(reading, period)
    trust_line(
        reading, suites, now, before=[_built(reading, tables, now)], after=[completeness] if completeness else []
    )
    return Page(reading, now, known, period, chosen)


def _days_in_words(period: Period, known: Period | None) -> str:
    """The days, and those they are compared with when those are known."""
    before = period.previous()
    compares = known is not None and before.within(known)
    compared = f", compared with {formats.days(before.first, before.last)}" if compares else ""
    return f"**{formats.days(period.first, period.last)}** ({formats.plural(period.days, 'day')}{compared})"


def yesterday(now: datetime) -> date:
    """The last day that is over."""
    return now.date() - timedelta(days=1)


def open_platform_page(title: str, *, about: str) -> Visit:
    """The same for a page about the platform itself: no filters, all gates."""
    current = visit.get()
    st.title(title, anchor=False)
    st.markdown(about)
    trust_line(current.reading, trust.outcomes(current.reading), current.now)
    return current


def trust_line(
    reading: Reading,
    suites: Sequence[trust.SuiteOutcome],
    now: datetime,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> None:
    """In words: how old the numbers are, what the gate said, how complete the last day is, what is in quarantine."""
    badge, color, said = gate_words(suites, now.replace(tzinfo=None))
    letters = trust.open_dead_letters(reading)
    quarantine = f"{formats.plural(letters, 'input')} in quarantine" if letters else "nothing in quarantine"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="trust"):
        st.badge(badge, color=color)
        st.caption(" · ".join([*before, said, *after, quarantine]))
    for suite in suites:
        if suite.outcome in trust.CRITICAL:
            what = "could not be evaluated" if suite.outcome == "error" else "failed"
            st.error(
                f"The quality gate of **{formats.plain(suite.suite)}** {what}: {formats.plain(suite.sentence or '')} "
                "Numbers that come from it may be wrong. See Operations › Quality."
            )


def _built(reading: Reading, tables: Sequence[str], now: datetime) -> str:
    built = trust.built_at(reading, list(tables))
    if built is None:
        return "no run of these models is on record"
    return f"Data as of {formats.moment(built)} ({formats.age(now.replace(tzinfo=None) - built)})"


def _completeness(reading: Reading, period: Period) -> str | None:
    share = trust.finality(reading, period.last)
    if share is None or share >= COMPLETE:
        return None
    return f"{formats.day(period.last)} is {formats.percent(share)} complete"


def gate_words(suites: Sequence[trust.SuiteOutcome], now: datetime) -> tuple[str, str, str]:
    """A badge, its colour, and the sentence beside it."""
    if not suites:
        return "? Not checked", "gray", "no quality gate has run: `searchflow validate` runs it"
    checks = sum(suite.checks for suite in suites)
    newest = max(suite.checked_at for suite in suites)
    when = f"{formats.plural(checks, 'check')}, {formats.age(now - newest)}"
    broken = sum(suite.failed + suite.crashed for suite in suites)
    warned = sum(suite.warned for suite in suites)
    if broken:
        return "✕ Gate failed", "red", f"{broken} of {when}, failed"
    if warned:
        return "! Gate passed, with warnings", "orange", f"{formats.plural(warned, 'warning')} in {when}"
    return "✓ Gate passed", "green", when


def chart(option: Option, *, alt: str, height: int = 300, key: str | None = None) -> None:
    """An ECharts chart with its description for screen readers."""
    color = theme.CHART_TEXT["dark" if st.context.theme.type == "dark" else "light"]
    for series in option["series"]:
        series["label"] = {"color": color, **series.get("label", {})}
    st.echarts_chart(option, height=height, alt=alt, key=key)


def table(rows: Sequence[dict[str, Any]], columns: dict[str, Any], *, alt: str, height: int | str = "auto") -> None:
    """A table of these columns, in this order, without an index. Cells are drawn as text."""
    import pyarrow as pa

    names = list(columns)
    data = pa.table({name: [row.get(name) for row in rows] for name in names})
    st.dataframe(
        data,
        column_config=columns,
        column_order=names,
        hide_index=True,
        height=height,
        alt=alt,
        placeholder=formats.MISSING,
    )


def nothing(words: str) -> None:
    """An empty state, in words."""
    st.info(words)


def column(label: str, *, width: int | str | None = None, help: str | None = None) -> Any:  # noqa: A002
    """A column of texts."""
    return st.column_config.TextColumn(label, width=width, help=help)


def numbers(label: str, shown: str = "%,.0f", *, help: str | None = None) -> Any:  # noqa: A002
    """A column of numbers, aligned at their right."""
    return st.column_config.NumberColumn(label, format=shown, help=help, alignment="right")


def moments(label: str) -> Any:
    """A column of moments, UTC."""
    return st.column_config.DatetimeColumn(label, format="D MMM, HH:mm")

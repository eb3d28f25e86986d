"""The frame of every page: its title, the filters, the trust line, tiles with their stamps, and words for empty
states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import export, filters, formats, schedule, source, theme
from dashboards.charts import Option
from dashboards.filters import DIMENSIONS, URL_KEYS, Filters
from dashboards.periods import Period
from dashboards.queries import choices, trust
from dashboards.source import NotBuiltError, Reading
from dashboards.stamps import COMPLETE, Stamp, Trust
from searchflow.privacy.export import harmless

FILTER_TABLES = ("marts.mart_kpi_daily", "marts.fct_search_funnel_daily")
"""The tables from which every page reads the days and values to choose from."""

OUTCOMES = {
    "pass": "✓ passed",
    "warn": "! warnings",
    "quarantine": "! rows in quarantine",
    "fail": "✕ failed",
    "error": "✕ could not run",
}
"""Outcome of a check -> as people read it; the mark says it without a colour."""


@dataclass(frozen=True)
class Visit:
    """One run of the script: the snapshot it reads and the moment it began."""

    reading: Reading
    now: datetime


@dataclass(frozen=True)
class Page:
    """The data that a page draws from. `before` is what it is compared with; None when those days are not all known."""

    reading: Reading
    now: datetime
    known: Period
    period: Period
    before: Period | None
    before_words: str
    filters: Filters
    trust: Trust


visit: ContextVar[Visit] = ContextVar("visit")
"""The current visit; `app.py` sets it for the page it runs."""


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
    period, comparison, chosen = filters.in_sidebar(
        known, yesterday(now), choices.values(reading), applies=applies, compares=compares, reason=reason
    )
    before = comparison.of(period)
    before = before if compares and before is not None and before.within(known) else None
    words = [about, _days_in_words(period, before)]
    if chosen.any_dimension:
        words.append(f"only **{formats.plain(chosen.words())}**")
    st.markdown(" · ".join(words))
    known_trust = _trust(
        reading,
        now,
        last_day=period.last,
        finality=trust.finality(reading, period.last),
        to_come=trust.to_come(reading, period.first, period.last),
    )
    _trust_line(known_trust, list(tables))
    return Page(reading, now, known, period, before, comparison.words, chosen, known_trust)


def _days_in_words(period: Period, before: Period | None) -> str:
    """Return the days, and those they are compared with, in words."""
    compared = f", compared with {formats.days(before.first, before.last)}" if before else ""
    return f"**{formats.days(period.first, period.last)}** ({formats.plural(period.days, 'day')}{compared})"


def yesterday(now: datetime) -> date:
    """Return the last day that is over."""
    return now.date() - timedelta(days=1)


@dataclass(frozen=True)
class PlatformPage:
    """The data that a page about the platform itself draws from: no filters, all gates."""

    reading: Reading
    now: datetime
    trust: Trust


def open_platform_page(title: str, *, about: str) -> PlatformPage:
    """Draw the top of a page about the platform itself."""
    current = visit.get()
    st.title(title, anchor=False)
    st.markdown(about)
    known_trust = _trust(current.reading, current.now)
    _trust_line(known_trust, None)
    return PlatformPage(current.reading, current.now.replace(tzinfo=None), known_trust)


def _trust(reading: Reading, now: datetime, **of_days: Any) -> Trust:
    return Trust(
        now.replace(tzinfo=None),
        trust.outcomes(reading),
        trust.made_at(reading),
        trust.quarantined(reading),
        trust.open_dead_letters(reading),
        next_refresh=schedule.known(source.current_settings()).next_refresh,
        **of_days,
    )


def _trust_line(known: Trust, tables: Sequence[str] | None) -> None:
    """Draw the trust line of the page as a whole, in words: how old its numbers are, what its gates said, how many
    dead letters are open."""
    suites = known.outcomes if tables is None else known.gates(tables)[0]
    before = () if tables is None else known.gates(tables)[1]
    badge, color, said = gate_words(suites, known.now)
    parts = [_built(known, tables)] if tables is not None else []
    parts.append(said)
    if tables is not None and known.finality is not None and known.finality < COMPLETE and known.last_day:
        parts.append(f"{formats.day(known.last_day)} is {formats.percent(known.finality)} complete")
    parts.append(formats.plural(known.letters, "open dead letter") if known.letters else "no open dead letters")
    if known.next_refresh:
        parts.append(f"next refresh {known.next_refresh:%H:%M} UTC")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="trust"):
        st.badge(badge, color=color)
        st.caption(" · ".join(parts))
    for suite in (*suites, *before):
        if suite.outcome in trust.CRITICAL:
            what = "could not be evaluated" if suite.outcome == "error" else "failed"
            st.error(
                f"The quality gate of **{formats.plain(suite.suite)}** {what}: {formats.plain(suite.sentence or '')} "
                "Numbers that come from it may be wrong. See Operations › Quality."
            )


def _built(known: Trust, tables: Sequence[str]) -> str:
    made = [known.made[table] for table in tables if table in known.made]
    if not made:
        return "no run of these models is on record"
    return f"Data as of {formats.moment(min(made))} ({formats.age(known.now - min(made))})"


def gate_words(suites: Sequence[trust.SuiteOutcome], now: datetime) -> tuple[str, str, str]:
    """Return a badge, its colour, and the sentence beside it."""
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


@dataclass
class Tile:
    """One frame on a page. What `shows` was told can be downloaded."""

    key: str
    stamp: Stamp
    rows: Sequence[Mapping[str, Any]] = ()
    headers: dict[str, str] = field(default_factory=dict)

    def shows(self, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> None:
        """Offer these rows as CSV, with these columns (key -> header)."""
        self.rows, self.headers = rows, dict(headers)

    def table(
        self, rows: Sequence[dict[str, Any]], columns: dict[str, Any], *, alt: str, height: int | str = "auto"
    ) -> None:
        """Draw a table, and offer it as CSV."""
        table(rows, columns, alt=alt, height=height)
        self.shows(rows, {name: str(settings["label"]) for name, settings in columns.items()})


@contextmanager
def tile(
    page: Page | PlatformPage,
    title: str,
    *tables: str,
    key: str,
    meaning: str | None = None,
    about: str | None = None,
) -> Iterator[Tile]:
    """Draw a frame with a title, and below its content the stamp of the `tables` it reads and the download."""
    drawn = Tile(key, page.trust.stamp(*tables))
    with st.container(border=True, key=f"tile-{key}", gap="small"):
        st.subheader(title, anchor=False, help=meaning)
        if about:
            st.caption(about)
        yield drawn
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            stamp_line(drawn.stamp)
            if drawn.rows:
                rows, headers = drawn.rows, drawn.headers
                st.download_button(
                    "↓ CSV",
                    lambda: export.as_csv(rows, headers),
                    file_name=f"{key}.csv",
                    mime="text/csv",
                    key=f"csv-{key}",
                    on_click="ignore",
                    type="tertiary",
                    help=f"Download what “{title}” shows",
                )


def stamp_line(stamp: Stamp) -> None:
    """Draw the stamp under a tile; its hover says the rest."""
    st.caption(stamp.line, help=stamp.details, width="content")


@dataclass(frozen=True)
class Drill:
    """A click on the bar at a place chooses the value at that place, for this filter."""

    dimension: str
    values: Sequence[str | None]


def mode() -> str:
    """Return `light` or `dark`, as the visitor's browser shows the page."""
    return "dark" if st.context.theme.type == "dark" else "light"


def chart(option: Option, *, alt: str, height: int = 300, key: str | None = None, drill: Drill | None = None) -> None:
    """Draw an ECharts chart with its description for screen readers. `drill` makes its first series clickable."""
    color = theme.CHART_TEXT[mode()]
    for series in option["series"]:
        series["label"] = {"color": color, **series.get("label", {})}
    if drill is None:
        st.echarts_chart(option, height=height, alt=alt, key=key)
        return
    option["series"][0] |= {"selectedMode": "single", "select": {"itemStyle": {"borderWidth": 0}}, "cursor": "pointer"}
    # The chosen bar is not remembered by the chart, but by the filter: each choice makes a new chart.
    place = f"{key}-{st.session_state.get('drills', 0)}"
    st.echarts_chart(option, height=height, alt=alt, key=place, on_select=lambda: _drill(place, drill))


def _drill(key: str, drill: Drill) -> None:
    chosen = st.session_state[key].selection.selected
    places = [place for group in chosen for place in group["data_indices"]]
    if not places or places[0] >= len(drill.values):
        return
    value = drill.values[places[0]]
    st.session_state[URL_KEYS[drill.dimension]] = [formats.UNKNOWN if value is None else value]
    st.session_state["drills"] = st.session_state.get("drills", 0) + 1


def can_drill(page: Page, dimension: str) -> bool:
    """Return whether a page can drill into a dimension: not when one of its values is chosen already."""
    return len(page.filters.of(dimension)) != 1


def table(rows: Sequence[dict[str, Any]], columns: dict[str, Any], *, alt: str, height: int | str = "auto") -> None:
    """Draw a table of these columns, in this order, without an index. Cells are drawn as text.

    Its toolbar saves it as CSV, as it is: no cell may be a formula to a spreadsheet.
    """
    import pyarrow as pa

    names = list(columns)
    data = pa.table({name: [harmless(row.get(name)) for row in rows] for name in names})
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
    """Draw an empty state, in words."""
    st.info(words)


def column(label: str, *, width: int | str | None = None, help: str | None = None) -> Any:  # noqa: A002
    """Return a column of texts."""
    return st.column_config.TextColumn(label, width=width, help=help)


def numbers(label: str, shown: str = "%,.0f", *, help: str | None = None) -> Any:  # noqa: A002
    """Return a column of numbers, aligned at their right."""
    return st.column_config.NumberColumn(label, format=shown, help=help, alignment="right")


def changes(label: str, shown: str = "%+,.1f%%", *, help: str | None = None) -> Any:  # noqa: A002
    """Return a column of changes, with their signs."""
    return numbers(label, shown, help=help)


def moments(label: str) -> Any:
    """Return a column of moments in UTC."""
    return st.column_config.DatetimeColumn(label, format="D MMM, HH:mm")

"""The filters of the sidebar, bound to the URL: what one user sees can be sent to another as a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import streamlit as st

from dashboards import formats, periods
from dashboards.periods import COMPARISONS, Comparison, Period

DIMENSIONS = {"platform": "Platform", "device_type": "Device", "country": "Country", "channel": "Channel"}
URL_KEYS = {"platform": "platform", "device_type": "device", "country": "country", "channel": "channel"}
"""Dimension -> its name in the URL, which is its widget's key. Values there are what people read (?country=Canada)."""


@dataclass(frozen=True)
class Filters:
    """The chosen values; none chosen means all."""

    platform: tuple[str, ...] = ()
    device_type: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    channel: tuple[str, ...] = ()

    def of(self, dimension: str) -> tuple[str, ...]:
        """Return the chosen values of one dimension."""
        chosen: tuple[str, ...] = getattr(self, dimension)
        return chosen

    @property
    def any_dimension(self) -> bool:
        """Return whether a filter leaves something out."""
        return any(self.of(name) for name in DIMENSIONS)

    def words(self, *dimensions: str) -> str:
        """Return the choice as people would say it; only of these dimensions, when some are named."""
        parts = [
            formats.listed([show(name, value) for value in self.of(name)])
            for name in dimensions or DIMENSIONS
            if self.of(name)
        ]
        return " · ".join(parts)


def show(dimension: str, value: str | None) -> str:
    """Return a value of a dimension for people."""
    return formats.country(value) if dimension == "country" else formats.label(value)


def in_sidebar(
    known: Period,
    last_over: date,
    values: Mapping[str, Sequence[str]],
    *,
    applies: Sequence[str],
    compares: bool,
    reason: str,
) -> tuple[Period, Comparison, Filters]:
    """Draw the filters. Those that do not apply are shown disabled, with the reason, and keep their value."""
    with st.sidebar:
        period = _period(known, last_over)
        comparison = _comparison(compares)
        chosen = {}
        for name, label in DIMENSIONS.items():
            picked = st.multiselect(
                label,
                list(values.get(name, ())),
                format_func=lambda value, name=name: show(name, value),
                key=URL_KEYS[name],
                bind="query-params",
                placeholder="All",
                disabled=name not in applies,
                help=None if name in applies else reason,
            )
            chosen[name] = tuple(picked) if name in applies else ()
        if any(chosen.values()):
            st.button("Remove all filters", on_click=_remove, key="remove", width="stretch")
    return period, comparison, Filters(**chosen)


def _remove() -> None:
    for key in URL_KEYS.values():
        st.session_state[key] = []


def _comparison(compares: bool) -> Comparison:
    chosen = st.selectbox(
        "Compare with",
        list(COMPARISONS),
        format_func=lambda name: COMPARISONS[name].label,
        key="compare",
        bind="query-params",
        disabled=not compares,
        help=None if compares else "This page shows no changes.",
    )
    return COMPARISONS[chosen]


def _period(known: Period, last_over: date) -> Period:
    preset = st.selectbox(
        "Days",
        list(periods.PRESETS),
        index=list(periods.PRESETS).index(periods.DEFAULT_PRESET),
        format_func=periods.PRESETS.__getitem__,
        key="period",
        bind="query-params",
        help="Whole days of UTC. All choices but the last end on the last day that is over.",
    )
    if preset != "custom":
        return periods.of_preset(preset, known, last_over=last_over)
    default = periods.of_preset(periods.DEFAULT_PRESET, known, last_over=last_over)
    picked = st.date_input(
        "From – to",
        value=(default.first, default.last),
        min_value=known.first,
        max_value=known.last,
        key="days",
        bind="query-params",
        format="YYYY-MM-DD",
    )
    if not isinstance(picked, tuple) or len(picked) != 2:
        st.caption("Choose the last day too.")
        return default
    return Period(*picked)

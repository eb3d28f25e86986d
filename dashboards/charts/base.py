"""The parts of every chart: a grid, axes, a line, colours in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from dashboards import theme

Option = dict[str, Any]
DAYS = {"year": "{yyyy}", "month": "{d} {MMM}", "day": "{d} {MMM}", "hour": "{HH}:{mm}"}
BAR_WIDTH = 18
COLORS = (theme.BLUE, theme.ORANGE, theme.GREEN, theme.PINK, theme.SKY, theme.VERMILION, theme.OCHRE, theme.GREY)


def base(*, legend: bool = False) -> Option:
    """Return a chart without data: room for labels, a tooltip for all of a place, and a legend above where it is asked
    for."""
    option: Option = {
        "animation": False,  # a number that is read every morning need not dance
        "grid": {"left": 4, "right": 14, "top": 36 if legend else 12, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
    }
    if legend:
        option["legend"] = {"top": 0, "left": 0, "itemWidth": 18, "itemHeight": 10, "type": "scroll"}
    return option


def value_axis(prefix: str = "", suffix: str = "", *, highest: float | None = None) -> Option:
    """Return an axis of numbers, which ends at `highest`."""
    axis: Option = {
        "type": "value",
        "splitNumber": 4,
        "axisLabel": {"formatter": f"{prefix}{{value}}{suffix}"},
    }
    if highest is not None:
        axis["max"] = highest
    return axis


def time_axis() -> Option:
    """Return an axis of days or hours."""
    return {"type": "time", "axisLabel": {"formatter": DAYS, "hideOverlap": True}, "splitLine": {"show": False}}


def names_axis(names: Sequence[str]) -> Option:
    """Return an axis of names, from the top down."""
    return {
        "type": "category",
        "data": list(names),
        "inverse": True,
        "axisTick": {"show": False},
        "axisLine": {"show": False},
        "axisLabel": {"width": 130, "overflow": "truncate"},
    }


def points(days: Sequence[date], values: Sequence[float | None], digits: int) -> list[list[Any]]:
    """Return days and their values, as an axis of time takes them."""
    return [
        [day.isoformat(), None if value is None else round(value, digits)]
        for day, value in zip(days, values, strict=True)
    ]


def line(name: str, data: list[list[Any]], color: str) -> Option:
    """Return a series as a line; a single point is drawn as one."""
    return {
        "type": "line",
        "name": name,
        "data": data,
        "showSymbol": len(data) == 1,
        "connectNulls": False,
        "lineStyle": {"width": 2.2, "color": color},
        "itemStyle": {"color": color},
        "emphasis": {"disabled": True},
    }

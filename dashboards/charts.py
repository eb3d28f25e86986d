"""ECharts options as plain dictionaries: easy to test, and no JavaScript in them.

Texts of events appear only as data (names and categories), which ECharts draws on a canvas or escapes; never
inside a formatter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from dashboards import formats, theme

Option = dict[str, Any]
_DAYS = {"year": "{yyyy}", "month": "{d} {MMM}", "day": "{d} {MMM}", "hour": "{HH}:{mm}"}
_BAR_WIDTH = 18
_COLORS = (theme.BLUE, theme.ORANGE, theme.GREEN, theme.PINK, theme.SKY, theme.VERMILION, theme.OCHRE, theme.GREY)


def _base(*, legend: bool = False) -> Option:
    option: Option = {
        "animation": False,  # a number that is read every morning need not dance
        "grid": {"left": 4, "right": 14, "top": 36 if legend else 12, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
    }
    if legend:
        option["legend"] = {"top": 0, "left": 0, "itemWidth": 18, "itemHeight": 10, "type": "scroll"}
    return option


def _value_axis(prefix: str = "", suffix: str = "", *, highest: float | None = None) -> Option:
    axis: Option = {
        "type": "value",
        "splitNumber": 4,
        "axisLabel": {"formatter": f"{prefix}{{value}}{suffix}"},
    }
    if highest is not None:
        axis["max"] = highest
    return axis


def _time_axis() -> Option:
    return {"type": "time", "axisLabel": {"formatter": _DAYS, "hideOverlap": True}, "splitLine": {"show": False}}


def _points(days: Sequence[date], values: Sequence[float | None], digits: int) -> list[list[Any]]:
    return [
        [day.isoformat(), None if value is None else round(value, digits)]
        for day, value in zip(days, values, strict=True)
    ]


def trend(
    days: Sequence[date],
    values: Sequence[float | None],
    *,
    name: str,
    smooth: Sequence[float | None] | None = None,
    before: Sequence[float | None] | None = None,
    prefix: str = "",
    suffix: str = "",
    tooltip: str = "%,.0f",
    digits: int = 2,
    color: str = theme.NOW,
) -> Option:
    """One measure over time (pale bars when there is a smooth line, else a line) beside that of a year before."""
    option = _base(legend=True)
    option["tooltip"]["valueFormatter"] = tooltip
    option["xAxis"] = _time_axis()
    option["yAxis"] = _value_axis(prefix, suffix)
    series: list[Option] = []
    if smooth is None:
        series.append(_line(name, _points(days, values, digits), color))
    else:
        series.append(
            {
                "type": "bar",
                "name": name,
                "data": _points(days, values, digits),
                "itemStyle": {"color": theme.NOW, "opacity": 0.36},
                "barMaxWidth": _BAR_WIDTH,
            }
        )
        series.append(_line("7-day average", _points(days, smooth, digits), theme.NOW))
    if before is not None and any(value is not None for value in before):
        line = _line("A year before", _points(days, before, digits), theme.BEFORE)
        line["lineStyle"] |= {"type": "dashed", "width": 1.5}
        series.append(line)
    option["series"] = series
    return option


def _line(name: str, data: list[list[Any]], color: str) -> Option:
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


def funnel(steps: Sequence[tuple[str, int]]) -> Option:
    """The steps as bars from the top down, each with its number and its share of the first."""
    first = steps[0][1] if steps else 0
    option = _base()
    option["grid"]["right"] = 120
    option["tooltip"] = {"show": False}
    option["xAxis"] = {"type": "value", "show": False, "max": max(first, 1)}
    option["yAxis"] = _names([name for name, _ in steps])
    option["series"] = [
        {
            "type": "bar",
            "barWidth": 34,
            "itemStyle": {"color": theme.NOW, "borderRadius": [0, 4, 4, 0]},
            "label": {"show": True, "position": "right"},
            "data": [{"value": number, "label": {"formatter": _share_label(number, first)}} for _, number in steps],
        }
    ]
    return option


def _share_label(number: int, first: int) -> str:
    return f"{formats.count(number)}  ({formats.percent(number / first)})" if first else formats.count(number)


def _names(names: Sequence[str]) -> Option:
    return {
        "type": "category",
        "data": list(names),
        "inverse": True,
        "axisTick": {"show": False},
        "axisLine": {"show": False},
        "axisLabel": {"width": 130, "overflow": "truncate"},
    }


def ranked(
    names: Sequence[str],
    values: Sequence[float | None],
    *,
    labels: Sequence[str],
    colors: Sequence[str] | None = None,
    name: str,
    tooltip: str = "%,.0f",
    prefix: str = "",
    suffix: str = "",
) -> Option:
    """Horizontal bars in the given order, with their numbers beside them."""
    option = _base()
    option["grid"]["right"] = 76
    option["tooltip"] = {
        "trigger": "axis",
        "confine": True,
        "axisPointer": {"type": "shadow"},
        "valueFormatter": tooltip,
    }
    option["xAxis"] = _value_axis(prefix, suffix) | {
        "axisLabel": {"show": False},
        "splitLine": {"show": False},
    }
    option["yAxis"] = _names(names)
    option["series"] = [
        {
            "type": "bar",
            "name": name,
            "barMaxWidth": _BAR_WIDTH,
            "label": {"show": True, "position": "right"},
            "data": [
                {
                    "value": None if value is None else round(value, 4),
                    "label": {"formatter": shown},
                    "itemStyle": {
                        "color": colors[place] if colors else theme.NOW,
                        "borderRadius": [0, 3, 3, 0],
                    },
                }
                for place, (value, shown) in enumerate(zip(values, labels, strict=True))
            ],
        }
    ]
    return option


def columns(
    names: Sequence[str], values: Sequence[float | None], *, name: str, suffix: str = "", tooltip: str = "%,.0f"
) -> Option:
    """Upright bars in the given order: a few places of one measure."""
    option = _base()
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": tooltip}
    option["xAxis"] = {"type": "category", "data": list(names), "axisTick": {"show": False}}
    option["yAxis"] = _value_axis(suffix=suffix)
    option["series"] = [
        {
            "type": "bar",
            "name": name,
            "barMaxWidth": _BAR_WIDTH,
            "itemStyle": {"color": theme.NOW, "borderRadius": [3, 3, 0, 0]},
            "data": [None if value is None else round(value, 4) for value in values],
        }
    ]
    return option


def pairs(names: Sequence[str], left: Sequence[float], right: Sequence[float], *, labels: tuple[str, str]) -> Option:
    """Two bars a name, for two ways to see the same: pale for the first, full for the second."""
    option = _base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": formats.MONEY_FORMAT}
    option["grid"]["right"] = 40
    option["xAxis"] = _value_axis(formats.CURRENCY) | {"splitNumber": 2}
    option["yAxis"] = _names(names)
    option["series"] = [
        {
            "type": "bar",
            "name": label,
            "barMaxWidth": 11,
            "itemStyle": {"color": color, "borderRadius": [0, 3, 3, 0]},
            "data": [round(value, 2) for value in values],
        }
        for label, values, color in zip(labels, (left, right), (theme.SKY, theme.NOW), strict=True)
    ]
    return option


def grid(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], float],
    *,
    across: str,
    down: str,
    mode: str,
) -> Option:
    """Numbers on a grid, the stronger the more; `mode` is light or dark."""
    highest = max([*values.values(), 1])
    option = _base()
    option["grid"] |= {"top": 30, "right": 4, "left": 24}
    option["tooltip"] = {"show": False}
    option["xAxis"] = {
        "type": "category",
        "data": list(columns),
        "position": "top",
        "name": across,
        "nameLocation": "middle",
        "nameGap": 24,
        "axisTick": {"show": False},
        "axisLine": {"show": False},
    }
    option["yAxis"] = _names(rows) | {"name": down, "nameLocation": "middle", "nameGap": 58}
    option["visualMap"] = {
        "show": False,
        "min": 0,
        "max": highest,
        "inRange": {"color": list(theme.STEPS[mode])},
    }
    cells = []
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            value = values.get((row, column), 0)
            strong = value > highest / 2
            cells.append(
                {
                    "value": [x, y, value],
                    "label": {
                        "show": True,
                        "formatter": formats.count(value),
                        "color": (theme.ON_STRONG if strong else theme.CHART_TEXT)[mode],
                    },
                }
            )
    option["series"] = [
        {"type": "heatmap", "data": cells, "itemStyle": {"borderWidth": 2, "borderColor": "transparent"}}
    ]
    return option


def changes(names: Sequence[str], values: Sequence[float]) -> Option:
    """Money more or less than before: bars to the right in blue-green, to the left in vermilion, with signs."""
    option = _base()
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": formats.MONEY_FORMAT}
    lowest, highest = min([*values, 0]), max([*values, 0])
    room = 0.32 * (highest - lowest)  # for the labels at the ends of the bars
    option["xAxis"] = {
        "type": "value",
        "axisLabel": {"show": False},
        "splitLine": {"show": False},
        "min": lowest - room if lowest < 0 else 0,
        "max": highest + room if highest > 0 else 0,
    }
    option["yAxis"] = _names(names) | {"axisLine": {"show": False, "onZero": False}}
    option["series"] = [
        {
            "type": "bar",
            "name": "Change of revenue",
            "barMaxWidth": _BAR_WIDTH,
            "label": {"show": True},
            "data": [
                {
                    "value": round(value, 2),
                    "label": {
                        "position": "right" if value >= 0 else "left",
                        "formatter": f"{'+' if value > 0 else ''}{formats.money(value)}",
                    },
                    "itemStyle": {"color": theme.GREEN if value >= 0 else theme.VERMILION, "borderRadius": 3},
                }
                for value in values
            ],
        }
    ]
    return option


def shares(
    rows: Sequence[str],
    parts: Sequence[str],
    values: Mapping[tuple[str, str], float],
    *,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> Option:
    """Each row as one bar of 100 %, split into the same parts in the same order: how a whole is shared differently."""
    option = _base(legend=True)
    option["tooltip"] |= {
        "axisPointer": {"type": "shadow"},
        "valueFormatter": formats.PERCENT_FORMAT,
        "order": "seriesAsc",
    }
    option["xAxis"] = _value_axis(suffix="%", highest=100) | {"interval": 25}
    option["yAxis"] = _names([labels.get(row, row) for row in rows])
    totals = {row: sum(values.get((row, part), 0) for part in parts) for row in rows}
    option["series"] = [
        {
            "type": "bar",
            "stack": "share",
            "name": labels.get(part, part),
            "barMaxWidth": 26,
            "itemStyle": {"color": colors.get(part, theme.GREY)},
            "data": [round(100 * values.get((row, part), 0) / totals[row], 2) if totals[row] else None for row in rows],
        }
        for part in parts
    ]
    return option


def areas(
    days: Sequence[date],
    parts: Sequence[str],
    values: Mapping[tuple[date, str], float],
    *,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> Option:
    """How many in each part over time, one on top of the other."""
    option = _base(legend=True)
    option["tooltip"]["valueFormatter"] = "%,.0f"
    option["xAxis"] = _time_axis()
    option["yAxis"] = _value_axis()
    option["series"] = [
        {
            **_line(
                labels.get(part, part),
                _points(days, [values.get((day, part), 0) for day in days], 0),
                colors.get(part, theme.GREY),
            ),
            "stack": "all",
            "areaStyle": {"color": colors.get(part, theme.GREY), "opacity": 0.55},
            "lineStyle": {"width": 0.8, "color": colors.get(part, theme.GREY)},
        }
        for part in parts
    ]
    return option


def flows(
    links: Sequence[tuple[str, str, float]],
    *,
    order: Sequence[str],
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> Option:
    """From what on the left to what on the right, as wide as many."""
    mark = "\u200b"  # the same name stands on both sides, and a node needs a name of its own
    left = [name for name in order if any(link[0] == name for link in links)]
    right = [name for name in order if any(link[1] == name for link in links)]
    nodes = [
        {
            "name": labels.get(name, name) + tail,
            "depth": depth,
            "itemStyle": {"color": colors.get(name, theme.GREY)},
            "label": {"position": side},
        }
        for depth, (names, tail, side) in enumerate(((left, "", "right"), (right, mark, "left")))
        for name in names
    ]
    return {
        "animation": False,
        "tooltip": {"trigger": "item", "confine": True, "valueFormatter": "%,.0f"},
        "series": [
            {
                "type": "sankey",
                "left": 4,
                "right": 4,
                "top": 8,
                "bottom": 8,
                "nodeWidth": 10,
                "nodeGap": 14,
                "draggable": False,
                "emphasis": {"focus": "adjacency"},
                "lineStyle": {"color": "source", "opacity": 0.28, "curveness": 0.5},
                "data": nodes,
                "links": [
                    {"source": labels.get(a, a), "target": labels.get(b, b) + mark, "value": number}
                    for a, b, number in links
                ],
            }
        ],
    }


def stacked_hours(
    hours: Sequence[datetime],
    kinds: Mapping[str, tuple[str, str]],
    counts: Mapping[tuple[datetime, str], int],
) -> Option:
    """Events in each of these hours, one colour a kind (kind -> its name and colour); an hour without any has a zero."""
    option = _base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": "%,.0f"}
    option["xAxis"] = _time_axis()
    option["yAxis"] = _value_axis()
    option["series"] = [
        {
            "type": "bar",
            "stack": "events",
            "name": name,
            "barMaxWidth": _BAR_WIDTH,
            "itemStyle": {"color": color},
            "data": [[f"{hour:%Y-%m-%dT%H:%M:%S}", counts.get((hour, kind), 0)] for hour in hours],
        }
        for kind, (name, color) in kinds.items()
    ]
    return option


def stacked_days(
    days: Sequence[date],
    parts: Sequence[str],
    values: Mapping[tuple[date, str], int],
    *,
    labels: Mapping[str, str] | None = None,
) -> Option:
    """Counts by day, one colour a part."""
    option = _base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": "%,.0f"}
    option["xAxis"] = {"type": "category", "data": [f"{day.day} {day:%b}" for day in days], "axisTick": {"show": False}}
    option["yAxis"] = _value_axis()
    option["series"] = [
        {
            "type": "bar",
            "stack": "parts",
            "name": (labels or {}).get(part, part),
            "barMaxWidth": _BAR_WIDTH,
            "itemStyle": {"color": _COLORS[place % len(_COLORS)]},
            "data": [values.get((day, part), 0) for day in days],
        }
        for place, part in enumerate(parts)
    ]
    return option


def lines(series: Mapping[str, Sequence[tuple[datetime, float | None]]], *, suffix: str = "", tooltip: str) -> Option:
    """Several measures of the same kind over moments, one line each."""
    option = _base(legend=len(series) > 1)
    option["tooltip"]["valueFormatter"] = tooltip
    option["xAxis"] = _time_axis()
    option["yAxis"] = _value_axis(suffix=suffix)
    option["series"] = [
        _line(
            name,
            [[f"{at:%Y-%m-%dT%H:%M:%S}", None if value is None else round(value, 3)] for at, value in points],
            _COLORS[place % len(_COLORS)],
        )
        for place, (name, points) in enumerate(series.items())
    ]
    return option

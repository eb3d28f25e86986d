"""Bar charts: one value for each name, or a whole and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards import formats, theme
from dashboards.charts.base import BAR_WIDTH, Option, base, names_axis, value_axis


def funnel(steps: Sequence[tuple[str, int]]) -> Option:
    """Return the steps as bars from the top down, each with its number and its share of the first."""
    first = steps[0][1] if steps else 0
    option = base()
    option["grid"]["right"] = 120
    option["tooltip"] = {"show": False}
    option["xAxis"] = {"type": "value", "show": False, "max": max(first, 1)}
    option["yAxis"] = names_axis([name for name, _ in steps])
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
    """Return horizontal bars in the given order, with their numbers beside them."""
    option = base()
    option["grid"]["right"] = 76
    option["tooltip"] = {
        "trigger": "axis",
        "confine": True,
        "axisPointer": {"type": "shadow"},
        "valueFormatter": tooltip,
    }
    option["xAxis"] = value_axis(prefix, suffix) | {
        "axisLabel": {"show": False},
        "splitLine": {"show": False},
    }
    option["yAxis"] = names_axis(names)
    option["series"] = [
        {
            "type": "bar",
            "name": name,
            "barMaxWidth": BAR_WIDTH,
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
    """Return upright bars in the given order: a few places of one measure."""
    option = base()
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": tooltip}
    option["xAxis"] = {"type": "category", "data": list(names), "axisTick": {"show": False}}
    option["yAxis"] = value_axis(suffix=suffix)
    option["series"] = [
        {
            "type": "bar",
            "name": name,
            "barMaxWidth": BAR_WIDTH,
            "itemStyle": {"color": theme.NOW, "borderRadius": [3, 3, 0, 0]},
            "data": [None if value is None else round(value, 4) for value in values],
        }
    ]
    return option


def pairs(names: Sequence[str], left: Sequence[float], right: Sequence[float], *, labels: tuple[str, str]) -> Option:
    """Return two bars for each name, for two ways to see it: pale for the first, full for the second."""
    option = base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": formats.MONEY_FORMAT}
    option["grid"]["right"] = 40
    option["xAxis"] = value_axis(formats.CURRENCY) | {"splitNumber": 2}
    option["yAxis"] = names_axis(names)
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


def changes(names: Sequence[str], values: Sequence[float]) -> Option:
    """Return bars for money more or less than before: bars to the right in blue-green, to the left in vermilion, with
    signs."""
    option = base()
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
    option["yAxis"] = names_axis(names) | {"axisLine": {"show": False, "onZero": False}}
    option["series"] = [
        {
            "type": "bar",
            "name": "Change of revenue",
            "barMaxWidth": BAR_WIDTH,
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
    """Return each row as one bar of 100 %, split into the same parts in the same order: how a whole is shared
    differently."""
    option = base(legend=True)
    option["tooltip"] |= {
        "axisPointer": {"type": "shadow"},
        "valueFormatter": formats.PERCENT_FORMAT,
        "order": "seriesAsc",
    }
    option["xAxis"] = value_axis(suffix="%", highest=100) | {"interval": 25}
    option["yAxis"] = names_axis([labels.get(row, row) for row in rows])
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

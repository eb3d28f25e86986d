"""Charts of one thing against another: a grid of numbers, flows from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards import formats, theme
from dashboards.charts.base import Option, base, names_axis


def grid(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], float],
    *,
    across: str,
    down: str,
    mode: str,
) -> Option:
    """Return numbers on a grid, the stronger the more; `mode` is light or dark."""
    highest = max([*values.values(), 1])
    option = base()
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
    option["yAxis"] = names_axis(rows) | {"name": down, "nameLocation": "middle", "nameGap": 58}
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


def flows(
    links: Sequence[tuple[str, str, float]],
    *,
    order: Sequence[str],
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> Option:
    """Return flows from the left to the right; the width of each says how many."""
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

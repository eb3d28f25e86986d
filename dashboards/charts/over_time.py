"""Charts along a time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from dashboards import theme
from dashboards.charts.base import BAR_WIDTH, COLORS, Option, base, line, points, time_axis, value_axis


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
    """Return one measure over time (pale bars when there is a smooth line, else a line) beside that of a year before."""
    option = base(legend=True)
    option["tooltip"]["valueFormatter"] = tooltip
    option["xAxis"] = time_axis()
    option["yAxis"] = value_axis(prefix, suffix)
    series: list[Option] = []
    if smooth is None:
        series.append(line(name, points(days, values, digits), color))
    else:
        series.append(
            {
                "type": "bar",
                "name": name,
                "data": points(days, values, digits),
                "itemStyle": {"color": theme.NOW, "opacity": 0.36},
                "barMaxWidth": BAR_WIDTH,
            }
        )
        series.append(line("7-day average", points(days, smooth, digits), theme.NOW))
    if before is not None and any(value is not None for value in before):
        past = line("A year before", points(days, before, digits), theme.BEFORE)
        past["lineStyle"] |= {"type": "dashed", "width": 1.5}
        series.append(past)
    option["series"] = series
    return option


def areas(
    days: Sequence[date],
    parts: Sequence[str],
    values: Mapping[tuple[date, str], float],
    *,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> Option:
    """Return how many are in each part over time, one on top of the other."""
    option = base(legend=True)
    option["tooltip"]["valueFormatter"] = "%,.0f"
    option["xAxis"] = time_axis()
    option["yAxis"] = value_axis()
    option["series"] = [
        {
            **line(
                labels.get(part, part),
                points(days, [values.get((day, part), 0) for day in days], 0),
                colors.get(part, theme.GREY),
            ),
            "stack": "all",
            "areaStyle": {"color": colors.get(part, theme.GREY), "opacity": 0.55},
            "lineStyle": {"width": 0.8, "color": colors.get(part, theme.GREY)},
        }
        for part in parts
    ]
    return option


def stacked_hours(
    hours: Sequence[datetime],
    kinds: Mapping[str, tuple[str, str]],
    counts: Mapping[tuple[datetime, str], int],
) -> Option:
    """Return events in each of these hours, a colour for each kind (kind -> its name and colour); an empty hour has a
    zero."""
    option = base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": "%,.0f"}
    option["xAxis"] = time_axis()
    option["yAxis"] = value_axis()
    option["series"] = [
        {
            "type": "bar",
            "stack": "events",
            "name": name,
            "barMaxWidth": BAR_WIDTH,
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
    """Return counts by day, with one colour for each part."""
    option = base(legend=True)
    option["tooltip"] |= {"axisPointer": {"type": "shadow"}, "valueFormatter": "%,.0f"}
    option["xAxis"] = {"type": "category", "data": [f"{day.day} {day:%b}" for day in days], "axisTick": {"show": False}}
    option["yAxis"] = value_axis()
    option["series"] = [
        {
            "type": "bar",
            "stack": "parts",
            "name": (labels or {}).get(part, part),
            "barMaxWidth": BAR_WIDTH,
            "itemStyle": {"color": COLORS[place % len(COLORS)]},
            "data": [values.get((day, part), 0) for day in days],
        }
        for place, part in enumerate(parts)
    ]
    return option


def lines(
    series: Mapping[str, Sequence[tuple[datetime, float | None]]],
    *,
    suffix: str = "",
    tooltip: str,
    highest: float | None = None,
) -> Option:
    """Return several measures of the same kind over moments, one line each; the axis ends at `highest`."""
    option = base(legend=len(series) > 1)
    option["tooltip"]["valueFormatter"] = tooltip
    option["xAxis"] = time_axis()
    option["yAxis"] = value_axis(suffix=suffix, highest=highest)
    option["series"] = [
        line(
            name,
            [[f"{at:%Y-%m-%dT%H:%M:%S}", None if value is None else round(value, 3)] for at, value in points],
            COLORS[place % len(COLORS)],
        )
        for place, (name, points) in enumerate(series.items())
    ]
    return option

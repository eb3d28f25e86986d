"""ECharts options as plain dictionaries: easy to test, and no JavaScript in them.

Texts of events appear only as data (names and categories), which ECharts draws on a canvas or escapes; never
inside a formatter.
"""

from dashboards.charts.bars import changes, columns, funnel, pairs, ranked, shares
from dashboards.charts.base import Option
from dashboards.charts.over_time import areas, lines, stacked_days, stacked_hours, trend
from dashboards.charts.relations import flows, grid

__all__ = [
    "Option",
    "areas",
    "changes",
    "columns",
    "flows",
    "funnel",
    "grid",
    "lines",
    "pairs",
    "ranked",
    "shares",
    "stacked_days",
    "stacked_hours",
    "trend",
]

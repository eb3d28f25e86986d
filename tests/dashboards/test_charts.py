"""Charts are plain JSON, and texts of events appear in them only as data."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from dashboards import charts, theme

HOSTILE = "<img src=x onerror=alert(1)>{b}"


def formatters(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [item for key, item in value.items() if key == "formatter" and isinstance(item, str)]
        return own + [found for item in value.values() for found in formatters(item)]
    if isinstance(value, list):
        return [found for item in value for found in formatters(item)]
    return []


def test_a_name_from_an_event_is_never_part_of_a_formatter() -> None:
    options = [
        charts.ranked([HOSTILE], [1], labels=["1"], name="n"),
        charts.changes([HOSTILE], [-1.0]),
        charts.shares(["m"], [HOSTILE], {("m", HOSTILE): 1.0}, colors={}, labels={}),
        charts.flows([(HOSTILE, HOSTILE, 1)], order=[HOSTILE], colors={}, labels={}),
    ]
    for option in options:
        assert HOSTILE in json.dumps(option, ensure_ascii=False)
        assert not any(HOSTILE in formatter for formatter in formatters(option))


def test_the_funnel_shows_each_number_and_its_share_of_the_first() -> None:
    option = charts.funnel([("Searches", 400), ("… with a click", 100)])
    assert [bar["label"]["formatter"] for bar in option["series"][0]["data"]] == ["400  (100.0%)", "100  (25.0%)"]
    assert charts.funnel([("Searches", 0)])["series"][0]["data"][0]["label"]["formatter"] == "0"


def test_shares_of_each_row_sum_to_a_hundred() -> None:
    values = {("a", "x"): 1.0, ("a", "y"): 3.0, ("b", "x"): 0.0, ("b", "y"): 0.0}
    option = charts.shares(["a", "b"], ["x", "y"], values, colors={}, labels={})
    assert [series["data"] for series in option["series"]] == [[25.0, None], [75.0, None]]


def test_a_trend_leaves_gaps_where_nothing_is_known() -> None:
    option = charts.trend([date(2026, 3, 1), date(2026, 3, 2)], [1.0, None], name="n", before=[None, None])
    assert [series["name"] for series in option["series"]] == ["n"]
    assert option["series"][0]["data"] == [["2026-03-01", 1.0], ["2026-03-02", None]]


def test_gains_and_losses_differ_in_colour_and_in_sign() -> None:
    bars = charts.changes(["a", "b"], [5.0, -5.0])["series"][0]["data"]
    assert [bar["itemStyle"]["color"] for bar in bars] == [theme.GREEN, theme.VERMILION]
    assert [bar["label"]["formatter"][0] for bar in bars] == ["+", "−"]

"""Each page's numbers are those of SQL on the marts, and its words fit the state of the platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dashboards import PROCESS, formats, source
from searchflow import actor
from searchflow.settings import load_settings
from tests.dashboards.conftest import Open, metrics, open_page
from tests.dashboards.showroom import HOSTILE_CAMPAIGN, HOSTILE_PLATFORM, validate

pytestmark = pytest.mark.integration
LAST_28_DAYS = "BETWEEN '2026-03-04' AND '2026-03-31'"


def one(lake: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = lake.execute(sql).fetchone()
    assert row is not None
    return row


def words(app: Any) -> str:
    parts = [*app.markdown, *app.caption, *app.error, *app.info, *app.success, *app.warning]
    return " ".join(str(part.value) for part in parts).replace("\\", "")


def test_the_overview_shows_the_sums_of_the_kpi_mart(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    tiles = metrics(pages())
    revenue, bookings, searches, clicked = one(
        lake,
        "SELECT sum(revenue), sum(conversions), sum(searches), sum(click_through_rate * searches) / sum(searches) "
        f"FROM marts.mart_kpi_daily WHERE kpi_date {LAST_28_DAYS}",
    )
    assert (revenue, bookings, searches) == (4790, 57, 421)  # by hand, see the showroom
    assert tiles["Revenue"].value == "CA$4,790"
    assert tiles["Bookings"].value == "57"
    assert tiles["Searches"].value == "421"
    assert tiles["Click-through"].value == formats.percent(clicked) == "39.9%"
    assert tiles["Nothing found"].value == "6.9%"


def test_a_tile_compares_with_the_days_before_and_with_a_year_before(pages: Open) -> None:
    app = pages()
    assert metrics(app)["Revenue"].delta == "+14.0%"  # 4,790 on 4,200
    assert metrics(app)["Searches"].delta == "+0.2%"  # 421 on 420
    assert metrics(app)["Click-through"].delta == "-0.10 pp"  # 168 of 421 on 168 of 420
    assert "+14.0% on CA$4,200 a year ago" in words(app)


def test_no_year_before_is_said_and_not_counted_as_nothing(pages: Open) -> None:
    app = pages(period="All days")
    assert "No comparison a year ago" in words(app)
    assert metrics(app)["Revenue"].delta == ""


def test_a_filter_in_the_url_counts_only_its_searches(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    app = pages(country="Canada")
    revenue, bookings = one(
        lake,
        "SELECT sum(revenue), sum(conversions) FROM marts.fct_search_funnel_daily "
        f"WHERE country = 'CA' AND search_date {LAST_28_DAYS}",
    )
    assert metrics(app)["Revenue"].value == formats.money(float(revenue)) == "CA$3,360"
    assert metrics(app)["Bookings"].value == str(bookings) == "28"
    assert "only **Canada**" in words(app)
    assert "that the days' searches led to" in words(app)


def test_changing_a_filter_changes_the_numbers(pages: Open) -> None:
    app = pages()
    app.multiselect(key="platform").select("ios").run()
    assert metrics(app)["Revenue"].value == "CA$1,400"
    app.selectbox(key="period").select("7d").run()
    assert metrics(app)["Revenue"].value == "CA$350.00"


def test_filters_that_match_nothing_are_answered_in_words(pages: Open) -> None:
    app = pages(country="Canada", platform="iOS")
    assert "Nothing happened on these days with these filters" in words(app)
    assert not app.metric


def test_the_funnel_counts_searches_step_by_step(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    app = pages("funnel")
    steps = app.dataframe[0].value
    expected = one(
        lake,
        "SELECT sum(searches), sum(searches_with_results), sum(searches_with_click), sum(searches_with_conversion) "
        f"FROM marts.fct_search_funnel_daily WHERE search_date {LAST_28_DAYS}",
    )
    assert tuple(steps["searches"]) == expected == (421, 392, 168, 56)
    assert list(steps["lost"])[1:] == [29, 224, 112]
    assert steps["of_step_before"][2] == pytest.approx(100 * 168 / 392)


def test_the_funnel_by_country_adds_up_to_the_funnel(pages: Open) -> None:
    app = pages("funnel")
    app.get_by_key("by").set_value("country").run()
    by = app.dataframe[1].value
    assert list(by["name"]) == ["Canada", "United States", "XX"]
    assert sum(by["searches"]) == 421
    assert sum(by["revenue"]) == 4760


def test_searches_in_vain_are_listed_by_destination(pages: Open) -> None:
    table = pages("funnel").dataframe[-1].value
    assert list(table["destination"]) == ["Lisbon", "<script>window.hacked=1</script>"]
    assert list(table["zero_result_searches"]) == [3, 1]


def test_every_attribution_model_shares_the_same_revenue(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    app = pages("attribution")
    by_model = app.dataframe[-1].value.drop(columns="channel")
    assert list(by_model.sum()) == pytest.approx([4790] * 7)
    for model in ("last_non_direct", "linear"):
        app.selectbox(key="model").select(model).run()
        revenue, cost = one(
            lake,
            "SELECT sum(revenue)::DOUBLE, sum(cost)::DOUBLE FROM marts.mart_campaign_attribution "
            f"WHERE model = '{model}' AND channel = 'paid_search' AND attribution_date {LAST_28_DAYS}",
        )
        assert metrics(app)["Revenue credited"].value == "CA$4,790"
        assert metrics(app)["Ad spend"].value == formats.money(cost) == "CA$560.00"
        assert metrics(app)["Return on ad spend"].value == formats.ratio(revenue / cost)


def test_segments_count_users_and_their_history(pages: Open) -> None:
    app = pages("segments")
    assert metrics(app)["Regular"].value == "2"
    assert metrics(app)["High value"].value == "1"
    history = json.loads(app.get("echarts_chart")[0].proto.spec)["series"]
    last = {series["name"]: series["data"][-1] for series in history}
    first = {series["name"]: series["data"][0] for series in history}
    assert last == {"High value": ["2026-03-31", 1], "New": ["2026-03-31", 1], "Regular": ["2026-03-31", 2]}
    assert first["Regular"] == ["2026-03-04", 3]
    assert app.dataframe[1].value.to_dict("records") == [{"from": "Regular", "to": "High value", "transitions": 1}]


def test_segments_follow_the_filters_that_users_know(pages: Open) -> None:
    app = pages("segments")
    app.multiselect(key="platform").select("web").run()
    assert set(metrics(app)) == {"High value", "New"}
    assert app.multiselect(key="channel").disabled


def test_operations_shows_the_accounts_and_what_ran(pages: Open) -> None:
    app = pages("operations")
    assert "Nothing lost, nothing counted twice: received 12 = stored 9 + duplicates 1 + dead letters 2" in words(app)
    assert metrics(app)["Events stored"].value == "9"
    assert metrics(app)["Quality gates passed"].value == "8 of 8"
    assert not app.multiselect


def test_the_audit_section_leaves_out_what_these_pages_read_unless_asked(
    pages: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        actor.VARIABLE, f"{PROCESS}|{actor.user()}|"
    )  # as a process that announced itself: pages are threads
    pages("operations", section="Runs")
    shown = [pages("operations", section="Audit", **own).dataframe[0].value for own in ({}, {"own-reads": "true"})]
    ours = [((table["process"] == PROCESS) & (table["action"] == "read")).any() for table in shown]
    assert ours == [False, True]


@pytest.mark.parametrize("section", ["Runs", "Streams", "Freshness", "Quality", "Dead letters", "Syncs", "Audit"])
def test_every_section_of_operations_is_drawn(pages: Open, section: str) -> None:
    app = pages("operations", section=section)
    assert "could not answer" not in words(app)
    assert len(app.dataframe) + len(app.get("echarts_chart")) + len(app.info) >= 1
    assert "read live" in words(app)


def test_every_choice_of_a_page_is_drawn(pages: Open) -> None:
    for name, key, values in (
        ("overview", "grain", ["day", "week", "month"]),
        ("overview", "movers", ["channel", "country", "platform", "device_type", "destination"]),
        ("overview", "compare", ["previous", "year", "none"]),
        ("funnel", "by", ["platform", "device_type", "country", "channel"]),
        ("attribution", "level", ["channel", "source", "medium", "campaign"]),
        ("segments", "segment", ["high_value", "new_user", "regular"]),
        ("segments", "grid", ["days", "scores"]),
    ):
        app = pages(name)
        for value in values:
            app.get_by_key(key).set_value(value).run()
            assert not app.exception, (key, value)
            assert "could not answer" not in words(app), (key, value)


def test_a_choice_of_comparison_changes_what_a_tile_says(pages: Open) -> None:
    app = pages()
    app.selectbox(key="compare").select("year").run()
    assert "compared with 4 Mar – 31 Mar 2025" in words(app)
    assert "in the days before" in words(app)
    app.selectbox(key="compare").select("none").run()
    assert metrics(app)["Revenue"].delta == ""


def test_best_and_worst_movers_are_changes_between_the_two_periods(pages: Open) -> None:
    movers = pages().dataframe[1].value
    assert list(movers["name"]) == ["Organic"]  # 28 x 20 more; e-mail brought the same, 'other' nothing
    assert list(movers["change"]) == [560]


def test_first_against_last_touch_moves_what_the_models_share_differently(
    pages: Open, lake: duckdb.DuckDBPyConnection
) -> None:
    moved = pages("attribution").dataframe[1].value.set_index("name")["moves"]
    for label, channel in (("Paid search", "paid_search"), ("Direct", "direct")):
        [expected] = one(
            lake,
            "SELECT (sum(revenue) FILTER (model = 'last_touch') - sum(revenue) FILTER (model = 'first_touch'))::DOUBLE "
            f"FROM marts.mart_campaign_attribution WHERE channel = '{channel}' AND attribution_date {LAST_28_DAYS}",
        )
        assert moved[label] == pytest.approx(expected)
    assert sum(moved) == pytest.approx(0)


def test_what_sets_a_segment_apart_and_who_is_in_the_grid(pages: Open) -> None:
    app = pages("segments")
    traits = {(row["trait"], row["value"]): row["ratio"] for row in app.dataframe[2].value.to_dict("records")}
    assert traits["Platform", "Web"] == 2  # the only high-value user of four is one of the two on the web
    spec = json.loads(app.get("echarts_chart")[2].proto.spec)["series"][0]["data"]
    users = {tuple(cell["value"][:2]): cell["value"][2] for cell in spec}
    assert sum(users.values()) == 3  # three of the four booked
    assert users[1, 1] == 1  # two bookings, seen 10 days ago


def test_what_is_still_to_come_is_told_with_the_number(pages: Open) -> None:
    stamps = [caption.help for caption in pages().caption if "as of" in caption.value and caption.help]
    assert len(stamps) > 10
    assert all("about 5 searches, 1 booking and CA\\$60.00 are still to come" in stamp for stamp in stamps)


def test_what_acting_on_the_data_changed_is_beside_the_segments(pages: Open) -> None:
    lift, quality = (table.value for table in pages("segments").dataframe[-2:])
    assert lift.loc[0, ["treated_users", "held_out_users", "sure"]].tolist() == [90, 10, "not yet"]
    assert lift.loc[0, "conversion_rate_lift"] == pytest.approx(10)
    assert list(quality["recall_at_10"]) == [0.4, 0.3]


def test_the_place_in_the_list_is_accounted_for(pages: Open) -> None:
    app = pages("funnel")
    corrected = next(table.value for table in app.dataframe if "coec" in table.value)
    assert corrected.loc[0, "coec"] == pytest.approx(1.1)
    places = json.loads(app.get("echarts_chart")[2].proto.spec)["series"][0]["data"]
    assert places == [20.0, 10.0]


def test_restated_figures_are_listed_with_what_they_were(pages: Open) -> None:
    restated = pages("operations", section="Freshness").dataframe[-1].value
    assert restated.loc[0, ["old_value", "new_value", "late_events"]].tolist() == [100, 150, 2]


def test_the_catalog_finds_tables_by_a_word_of_their_columns(pages: Open) -> None:
    found = pages("catalog", find="removed cost roas").dataframe
    assert len(found) == 0
    names = list(pages("catalog", find="return on ad spend").dataframe[0].value["name"])
    assert names == ["marts.mart_campaign_attribution"]
    app = pages("catalog", table="marts.dim_users")
    columns = app.dataframe[1].value.set_index("column")
    assert columns.loc["user_id", "meaning"] == "The user, as the events name them"
    assert "Owner **crm**" in words(app)


@pytest.mark.parametrize("name", ["overview", "funnel", "attribution", "segments", "operations", "catalog"])
def test_every_page_says_how_far_to_trust_it(pages: Open, name: str) -> None:
    said = words(pages(name))
    assert "✓ Gate passed" in said
    assert "2 open dead letters" in said
    if name not in ("operations", "catalog"):
        assert "Data as of" in said
        assert "31 Mar 2026 is 75.0% complete" in said


def test_a_failed_gate_is_told_where_the_number_is_read(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    try:
        validate(lake, "marts.mart_kpi_daily", "fail", later, run_id="v2")
        app = pages()
        assert "✕ Gate failed" in words(app)
        assert "The quality gate of **marts.mart_kpi_daily** failed" in words(app)
        assert "Gate failed" not in words(pages("segments"))
    finally:
        lake.execute("DELETE FROM ops.validation_results WHERE run_id = 'v2'")


def test_new_data_shows_at_the_next_visit(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    app = pages()
    try:
        lake.execute("UPDATE marts.mart_kpi_daily SET revenue = revenue + 10 WHERE kpi_date = '2026-03-30'")
        assert metrics(app.run())["Revenue"].value == "CA$4,800"
    finally:
        lake.execute("UPDATE marts.mart_kpi_daily SET revenue = revenue - 10 WHERE kpi_date = '2026-03-30'")


def test_content_of_events_never_becomes_markup(pages: Open) -> None:
    app = pages("attribution")
    app.get_by_key("level").set_value("campaign").run()
    assert HOSTILE_CAMPAIGN in list(app.dataframe[0].value["utm_campaign"])  # as text, in a cell
    filtered = pages(platform=HOSTILE_PLATFORM)
    markdown = " ".join(str(part.value) for part in filtered.markdown)
    assert formats.plain(HOSTILE_PLATFORM) in markdown
    assert HOSTILE_PLATFORM not in markdown
    assert not any(part.allow_html for part in [*app.markdown, *filtered.markdown])


def test_without_a_platform_the_page_says_how_to_start_it(tmp_path: Path) -> None:
    source.configure(load_settings(home=tmp_path))
    try:
        said = words(open_page())
    finally:
        source.configure(None)
    assert "The platform does not answer" in said
    assert "`searchflow up`" in said


def test_before_the_first_transformation_only_operations_has_something_to_show(
    pages: Open, lake: duckdb.DuckDBPyConnection
) -> None:
    lake.execute("ALTER TABLE marts.mart_kpi_daily RENAME TO not_built")
    try:
        said = words(pages())
        assert "There is nothing to show yet: marts.mart_kpi_daily has not been built" in said
        assert "Run `searchflow demo` for a first look" in said
        assert "received 12 = stored 9" in words(pages("operations"))
    finally:
        lake.execute("ALTER TABLE marts.not_built RENAME TO mart_kpi_daily")


def test_empty_marts_are_the_same_as_none(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    lake.execute("CREATE TABLE marts.away AS FROM marts.mart_kpi_daily; DELETE FROM marts.mart_kpi_daily")
    try:
        assert "There is nothing to show yet" in words(pages())
    finally:
        lake.execute("INSERT INTO marts.mart_kpi_daily FROM marts.away; DROP TABLE marts.away")


def test_an_unexpected_failure_is_told_without_a_traceback(pages: Open, lake: duckdb.DuckDBPyConnection) -> None:
    lake.execute("ALTER TABLE marts.mart_kpi_daily RENAME COLUMN revenue TO income")
    try:
        app = pages()
        assert "The warehouse could not answer this page" in words(app)
        assert "income" not in words(app)
    finally:
        lake.execute("ALTER TABLE marts.mart_kpi_daily RENAME COLUMN income TO revenue")

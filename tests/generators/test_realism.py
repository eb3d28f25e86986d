from __future__ import annotations

import numpy as np
import polars as pl
import pytest

Frames = dict[str, pl.DataFrame]


def test_thirty_percent_of_searches_are_clicked_and_ten_percent_of_clicks_booked(year_frames: Frames) -> None:
    searches, clicks, bookings = year_frames.values()
    assert len(searches) > 100_000
    assert clicks["search_event_id"].n_unique() / len(searches) == pytest.approx(0.30, abs=0.01)
    assert bookings["click_event_id"].n_unique() / len(clicks) == pytest.approx(0.10, abs=0.01)
    assert (searches["results_count"] == 0).mean() == pytest.approx(0.06, abs=0.01)


def test_clicks_point_to_their_search_and_bookings_to_their_click_which_came_first(year_frames: Frames) -> None:
    searches, clicks, bookings = year_frames.values()
    by_search = clicks.join(searches, left_on="search_event_id", right_on="event_id", how="left")
    assert by_search["timestamp_right"].null_count() == 0
    assert (by_search["timestamp"] > by_search["timestamp_right"]).all()
    assert (by_search["session_id"] == by_search["session_id_right"]).all()
    assert (by_search["results_count"] >= by_search["result_position"]).all()
    by_click = bookings.join(clicks, left_on="click_event_id", right_on="event_id", how="left")
    assert by_click["timestamp_right"].null_count() == 0
    delay = (by_click["timestamp"] - by_click["timestamp_right"]).dt.total_seconds()
    assert delay.min() >= 40  # type: ignore[operator]
    assert delay.max() <= 7.1 * 86_400  # type: ignore[operator]
    assert (delay > 3_600).mean() == pytest.approx(0.16, abs=0.05)


def test_positions_follow_the_power_law(year_frames: Frames) -> None:
    first_page = year_frames["click"].filter(pl.col("result_position") <= 10)
    counts = first_page["result_position"].value_counts().sort("result_position")["count"].to_numpy()
    slope = np.polyfit(np.log(np.arange(1, 11)), np.log(counts), 1)[0]
    assert slope == pytest.approx(-1.25, abs=0.1)


def test_four_of_ten_visits_begin_anonymous_and_some_log_in_half_way(year_frames: Frames) -> None:
    people = year_frames["search"].filter(~pl.col("visitor_id").str.starts_with("bot"))
    visits = people.sort("timestamp").group_by("session_id", maintain_order=True).agg(
        pl.col("user_id").first().is_null().alias("anonymous"), pl.col("user_id").is_not_null().any().alias("known")
    )  # fmt: skip
    assert visits["anonymous"].mean() == pytest.approx(0.40, abs=0.01)
    assert visits.filter("anonymous")["known"].mean() == pytest.approx(0.15, abs=0.02)


def test_a_login_is_never_lost_within_a_visit_and_names_the_visitor(year_frames: Frames) -> None:
    for frame in year_frames.values():
        known = frame.filter(pl.col("user_id").is_not_null())
        assert (known["user_id"] == known["visitor_id"]).all()
    after = (
        year_frames["search"]
        .sort("session_id", "timestamp", "event_id")
        .with_columns(pl.col("user_id").is_not_null().shift(1).over("session_id").alias("before"))
    )
    assert after.filter(pl.col("before") & pl.col("user_id").is_null()).is_empty()


def test_journeys_take_several_visits_over_days_from_several_channels(year_frames: Frames) -> None:
    people = year_frames["search"].filter(pl.col("user_id").is_not_null())
    by_person = people.group_by("user_id").agg(
        pl.col("session_id").n_unique().alias("visits"),
        pl.col("utm_source").n_unique().alias("sources"),
        (pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_days().alias("days"),
    )
    assert (by_person["visits"] > 2).mean() > 0.4  # type: ignore[operator]
    assert (by_person["sources"] > 1).mean() > 0.4  # type: ignore[operator]
    assert (by_person["days"] > 3).mean() > 0.4  # type: ignore[operator]


def test_season_growth_weekday_and_hour_are_visible(year_frames: Frames) -> None:
    at = year_frames["search"]["timestamp"]
    months = dict(at.dt.strftime("%Y-%m").value_counts().iter_rows())
    assert months["2026-01"] > 1.25 * months["2025-12"]
    assert months["2026-05"] > 1.1 * months["2025-06"]
    weekdays = at.dt.weekday().value_counts().sort("timestamp")["count"]
    assert weekdays[0] > 1.05 * weekdays[4]  # Monday against Friday
    hours = at.dt.hour().value_counts().sort("timestamp")["count"]
    assert hours.max() > 3.5 * hours.min()  # type: ignore[operator]
    assert hours.arg_min() in {6, 7, 8}  # night in Canada


def test_money_is_mostly_canadian(year_frames: Frames) -> None:
    shares = dict(year_frames["conversion"]["currency"].value_counts(normalize=True).iter_rows())
    assert 0.5 < shares["CAD"] < 0.75
    assert {"CAD", "USD", "EUR", "GBP"} <= set(shares)


def test_there_are_few_bots_and_they_run_away(year_frames: Frames) -> None:
    bots = year_frames["search"].filter(pl.col("visitor_id").str.starts_with("bot"))
    assert 0.002 < len(bots) / len(year_frames["search"]) < 0.006
    assert bots.group_by("session_id").len()["len"].min() >= 40  # type: ignore[operator]
    assert bots["user_id"].null_count() == len(bots)

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from generators import Simulation, campaigns, feeds

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
PAID = {"cpc", "paid_social", "affiliate"}


def test_spend_is_consistent_with_the_visits_it_brought(year: Simulation, year_frames: dict[str, pl.DataFrame]) -> None:
    spend = feeds.ad_spend(year, after=None, until=NOW)
    visits = (
        year_frames["search"]
        .sort("timestamp")
        .group_by("session_id")
        .agg(pl.col("timestamp").first().dt.date().alias("spend_date"), pl.col("^utm_.*$").first())
        .filter(pl.col("utm_medium").is_in(list(PAID)), pl.col("spend_date") < NOW.date())
        .group_by("spend_date", "utm_source", "utm_campaign")
        .len("visits")
    )
    joined = spend.join(visits, on=["spend_date", "utm_source", "utm_campaign"], how="full", coalesce=True)
    assert joined["clicks"].null_count() == 0  # every visit from an ad was paid for
    # Those that arrive late (their visit is not in the events yet) are the only difference.
    assert joined.filter(pl.col("visits").is_null())["clicks"].sum() <= 5
    known = joined.drop_nulls("visits")
    assert (known["clicks"] >= known["visits"]).all()
    assert known["clicks"].sum() / known["visits"].sum() == pytest.approx(3.5, abs=0.3)  # the others bounced
    assert (spend["impressions"] >= spend["clicks"]).all()
    assert spend.select("spend_date", "utm_source", "utm_campaign").is_unique().all()
    assert (spend["cost"] > 0).all()
    assert spend["spend_date"].max() == NOW.date() - timedelta(days=1)  # nothing of a day that has not ended


def test_no_campaign_spends_more_than_its_budget_and_clicks_cost_what_they_should(year: Simulation) -> None:
    configured = pl.DataFrame(
        [
            {
                "utm_source": one.source, "utm_campaign": one.campaign, "price": one.cost_per_click,
                "budget": one.budget * year.traffic.visits_per_day, "months": [month + 1 for month in one.months],
            }
            for one in campaigns.CAMPAIGNS if one.cost_per_click
        ]
    )  # fmt: skip
    spend = feeds.ad_spend(year, after=None, until=NOW).join(configured, on=["utm_source", "utm_campaign"])
    assert spend["utm_campaign"].n_unique() == len(configured) - 1  # hotels_generic runs in two sources
    assert (spend["cost"] <= spend["budget"] + 0.005).all()
    at_the_limit = spend["cost"] >= spend["budget"] - 0.005
    assert 0.001 < at_the_limit.mean() < 0.3  # type: ignore[operator]
    unlimited = spend.filter(~at_the_limit)
    ratio = unlimited["cost"] / unlimited["clicks"] / unlimited["price"]
    assert ratio.median() == pytest.approx(1, abs=0.03)
    assert ratio.is_between(0.5, 2).all()
    assert spend["spend_date"].dt.month().is_in(spend["months"]).all()


def test_pieces_of_the_feeds_are_the_whole(small: Simulation) -> None:
    middle = NOW - timedelta(days=4, hours=3)
    for feed in (feeds.ad_spend, feeds.user_profiles):
        whole = feed(small, after=None, until=NOW)
        pieces = pl.concat([feed(small, after=None, until=middle), feed(small, after=middle, until=NOW)])
        assert pieces.equals(whole)


def test_profiles_cover_every_user_and_change_over_time(year: Simulation, year_frames: dict[str, pl.DataFrame]) -> None:
    profiles = feeds.user_profiles(year, after=None, until=NOW)
    assert set(year_frames["search"]["user_id"].drop_nulls()) <= set(profiles["user_id"])
    assert (profiles["created_at"] <= profiles["updated_at"]).all()
    versions = profiles.group_by("user_id").agg(
        pl.len(), pl.col("email").n_unique().alias("emails"), pl.col("created_at").n_unique().alias("created")
    )
    assert (versions["len"] > 1).mean() > 0.2  # type: ignore[operator]
    assert versions["created"].max() == 1
    assert versions["emails"].max() > 1  # type: ignore[operator]
    newest = profiles.sort("updated_at").group_by("user_id").last()
    assert newest["email"].is_unique().all()
    assert newest["email"].str.contains(r"^[a-z0-9]+\.[a-z0-9]+\.\d+@[a-z.]*example\.(com|org|net)$").all()
    assert 0.4 < newest["marketing_consent"].mean() < 0.75  # type: ignore[operator]


def test_no_user_acts_before_joining(year: Simulation, year_frames: dict[str, pl.DataFrame]) -> None:
    joined = feeds.user_profiles(year, after=None, until=NOW).group_by("user_id").agg(pl.col("created_at").min())
    acts = year_frames["search"].drop_nulls("user_id").join(joined, on="user_id", how="left")
    assert (acts["timestamp"].dt.replace_time_zone(None) >= acts["created_at"]).all()


def test_a_second_run_writes_only_new_files(small: Simulation, tmp_path: Path) -> None:
    first = feeds.write(small, tmp_path, after=None, until=NOW)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == sorted(first)
    later = NOW + timedelta(days=3)
    second = feeds.write(small, tmp_path, after=NOW, until=later)
    assert {path: path.read_bytes() for path in first} == before
    assert not set(first) & set(second)
    days = [pl.read_csv(path, try_parse_dates=True)["spend_date"] for path in (first[0], second[0])]
    assert not set(days[0]) & set(days[1])
    assert days[1].max() < later.date()  # type: ignore[operator]
    assert feeds.write(small, tmp_path, after=later, until=later) == []

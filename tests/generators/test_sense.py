"""What an analyst of a travel site would look at first, and not believe: offers, places, campaigns, phones and consent."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from generators import Simulation, campaigns, feeds
from generators.funnel import Rows
from generators.places import ANDROID_PHONE, CITIES, COMPUTER, DESTINATIONS, IOS_DEVICES, PRODUCTS

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


@pytest.fixture(scope="module")
def firsts(rows: Rows) -> pl.DataFrame:
    """The first search of each visit."""
    return rows.search.sort("ts").unique("session", keep="first", maintain_order=True)


def brought_by(firsts: pl.DataFrame, campaign: str) -> pl.DataFrame:
    codes = [code for code, one in enumerate(campaigns.CAMPAIGNS) if one.campaign == campaign]
    return firsts.filter(pl.col("campaign").is_in(codes))


def test_what_is_clicked_was_found_by_the_filter(rows: Rows) -> None:
    filters = rows.search.select(pl.col("key").alias("parent"), "price_low", "price_high")
    clicks = rows.click.join(filters, on="parent").filter(pl.col("price_high") > 0)
    assert len(clicks) > 10_000
    assert (clicks["price"] <= 100 * clicks["price_high"]).all()
    assert (clicks["price"] >= 100 * clicks["price_low"]).all()


def test_a_result_has_one_provider_and_one_price_for_a_stay(rows: Rows) -> None:
    of_one = rows.click.group_by("product", "destination", "result").agg(pl.len(), pl.col("provider").n_unique())
    assert (of_one["len"] > 2).sum() > 5_000
    assert of_one["provider"].max() == 1
    hotels = rows.click.filter(pl.col("product") == PRODUCTS.index("hotel"), pl.col("city") == 0)
    month = pl.from_epoch(pl.col("check_in"), time_unit="d").dt.month()
    rates = hotels.group_by("destination", "result", month).agg(pl.len(), pl.col("price").n_unique())
    assert (rates["len"] > 1).sum() > 200
    assert rates["price"].max() == 1
    again = rows.click.group_by("parent", "position").agg(pl.len(), pl.col("price", "result").n_unique())
    assert (again["len"] > 1).sum() > 100  # the same place in the same list, clicked twice
    assert again.select("price", "result").max().row(0) == (1, 1)


def test_no_user_travels_to_where_they_live_and_near_places_are_liked(rows: Rows) -> None:
    names = [place.name for place in DESTINATIONS]
    home = np.array([names.index(city.name) if city.name in names else -1 for city in CITIES])
    city, destination = rows.search["city"].to_numpy(), rows.search["destination"].to_numpy()
    assert not (home[city] == destination).any()
    region = np.array([place.region for place in DESTINATIONS])[destination]
    country = np.array([one.country for one in CITIES])[city]
    for people, place, least in (("GB", "europe", 1.2), ("AU", "asia", 2)):
        share = [(region[country == one] == place).mean() for one in (people, "CA")]
        assert share[0] > least * share[1]
    assert (region[country == "GB"] == "caribbean").mean() < 0.7 * (region[country == "CA"] == "caribbean").mean()


def test_campaigns_bring_trips_of_what_they_advertise(firsts: pl.DataFrame) -> None:
    hotels, flights = (brought_by(firsts, name)["product"] for name in ("hotels_generic", "flights_generic"))
    assert (hotels == PRODUCTS.index("hotel")).mean() > 0.85  # type: ignore[operator]
    assert (flights == PRODUCTS.index("flight")).mean() > 0.85  # type: ignore[operator]
    warm = pl.Series([place.warm for place in DESTINATIONS])
    sun = brought_by(firsts, "winter_sun")
    assert warm.gather(sun["destination"]).mean() > 0.8  # type: ignore[operator]
    # What is advertised takes nothing from how much a campaign brings.
    share = len(hotels) / len(firsts)
    assert share == pytest.approx(0.06, abs=0.012)


def test_messages_to_phones_are_opened_on_phones_and_hardly_anybody_has_two_makes(firsts: pl.DataFrame) -> None:
    assert (brought_by(firsts, "last_minute")["device"] != COMPUTER).all()
    dreams, direct = brought_by(firsts, "dream_places"), firsts.filter(pl.col("campaign") == campaigns.DIRECT)
    assert (dreams["device"] == COMPUTER).mean() < 0.3 * (direct["device"] == COMPUTER).mean()  # type: ignore[operator]
    ios = [code for code, one in enumerate(IOS_DEVICES) if one]
    makes = firsts.group_by("traveller").agg(
        pl.col("device").is_in(ios).any().alias("ios"), (pl.col("device") == ANDROID_PHONE).any().alias("android")
    )
    assert (makes["ios"] & makes["android"]).mean() < 0.06  # type: ignore[operator]  # a borrowed one


def test_mail_goes_to_those_only_whose_profile_allows_it_then(year: Simulation, firsts: pl.DataFrame) -> None:
    profiles = feeds.user_profiles(year, after=None, until=NOW).sort("updated_at")
    mailed = firsts.filter(pl.Series(campaigns.MAILED)[firsts["campaign"]]).select(
        ("u" + pl.col("traveller").cast(pl.String).str.zfill(8)).alias("user_id"), pl.col("ts").cast(pl.Datetime("ms"))
    )
    then = mailed.sort("ts").join_asof(
        profiles.select("user_id", "marketing_consent", "updated_at"),
        left_on="ts", right_on="updated_at", by="user_id", check_sortedness=False,
    )  # fmt: skip
    assert len(then) / len(firsts) == pytest.approx(0.09, abs=0.02)
    assert then["marketing_consent"].fill_null(value=False).all()


def test_people_search_in_the_language_of_their_profile(year: Simulation, rows: Rows) -> None:
    profiles = feeds.user_profiles(year, after=None, until=NOW).unique("user_id")
    seen = rows.search.filter("known").select(
        ("u" + pl.col("traveller").cast(pl.String).str.zfill(8)).alias("user_id"), "french", "city"
    )
    both = seen.join(profiles, on="user_id")
    assert (both["french"] == both["locale"].str.starts_with("fr")).all()
    by_city = both.group_by("city").agg(pl.col("french").mean())
    french = {CITIES[code].name: share for code, share in by_city.iter_rows()}
    assert 0.7 < french["Montréal"] < 0.9
    assert french["Calgary"] < 0.15

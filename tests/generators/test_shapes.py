"""The shapes of time, prices and stays in the demo's history, against the ones that are configured."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from generators import Simulation, calendar
from generators.funnel import Rows
from generators.places import CITIES, CITY_COUNTRY, COUNTRY_RATE, DESTINATION_PRICE, PRODUCT_PRICE
from generators.settings import DAY_MS


@pytest.fixture(scope="module")
def local(year: Simulation, visits: pl.DataFrame) -> pl.DataFrame:
    """The local day and hour at which each visit starts."""
    city = year.population.traits(visits["traveller"].to_numpy()).city
    frame = visits.select("start").with_columns(city=pl.Series(city))
    parts = [
        pl.Series(calendar.local_ms(part["start"].to_numpy(), CITIES[number].zone))
        for (number,), part in frame.partition_by("city", as_dict=True).items()
    ]
    start = pl.concat(parts).cast(pl.Datetime("ms"))
    return pl.DataFrame({"day": start.dt.epoch("d").cast(pl.Int64), "hour": start.dt.hour()})


@pytest.mark.parametrize("weekend", [False, True])
def test_local_hours_follow_the_configured_curve(local: pl.DataFrame, *, weekend: bool) -> None:
    here = local["hour"].to_numpy()[(calendar.weekday(local["day"].to_numpy()) >= 5) == weekend]
    curve = calendar.WEEKEND_HOURS if weekend else calendar.WORKDAY_HOURS
    expected = curve / curve.sum() * len(here)
    found = np.bincount(here, minlength=24)
    assert len(here) > 10_000
    assert ((found - expected) ** 2 / expected).sum() < 60  # chi-square, 23 degrees of freedom: p = 0.00004
    other = calendar.WORKDAY_HOURS if weekend else calendar.WEEKEND_HOURS
    wrong = other / other.sum() * len(here)
    assert ((found - wrong) ** 2 / wrong).sum() > 120  # the test can tell the two curves apart


def test_trips_follow_weekday_season_and_growth(year: Simulation) -> None:
    """Over eight years, so that growth and season are told apart: a regression of log trips on all three."""
    days = np.arange(year.settings.start_day, year.settings.start_day + 8 * 365)
    trips = year.traffic.trips(days)
    quiet = calendar._at_home(days) < 0.01
    days, trips = days[quiet], trips[quiet]
    within = days.astype("datetime64[D]") - days.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]")
    month, ahead = calendar.month_of(days), within.astype(np.int64) / 30.5
    season = calendar.MONTHS[month] * (1 - ahead) + calendar.MONTHS[(month + 1) % 12] * ahead
    weekdays = np.eye(7)[calendar.weekday(days)]
    years = (days - year.settings.start_day) / 365.25
    found = np.linalg.lstsq(np.column_stack([weekdays, years, np.log(season)]), np.log(trips), rcond=None)[0]
    shape = np.exp(found[:7]) / np.exp(found[:7]).mean()
    assert shape == pytest.approx(calendar.WEEKDAYS / calendar.WEEKDAYS.mean(), abs=0.03)
    assert np.expm1(found[7]) == pytest.approx(year.settings.growth, abs=0.02)
    assert found[8] == pytest.approx(1, abs=0.08)


def test_public_holidays_lose_their_share(year: Simulation) -> None:
    days = np.arange(year.settings.start_day, year.settings.start_day + 12 * 365)
    home = calendar._at_home(days)
    usual = year.traffic._base * year.calendar.weight(days) / (1 - calendar.HOLIDAY_SHARE_LOST * home)
    everywhere = home > 0.5
    lost = 1 - year.traffic.trips(days)[everywhere].sum() / usual[everywhere].sum()
    assert everywhere.sum() > 50
    assert lost == pytest.approx(calendar.HOLIDAY_SHARE_LOST * home[everywhere].mean(), abs=0.03)


def test_first_visits_scatter_by_hour_like_a_poisson_process(year: Simulation, visits: pl.DataFrame) -> None:
    """Given each day's number and the mean rhythm of a weekday, counts an hour have a variance equal to their mean."""
    start = visits.filter(pl.col("number") == 1)["start"].to_numpy()
    day, hour = start // DAY_MS - year.settings.start_day, start // 3_600_000 % 24
    counts = np.bincount(day * 24 + hour, minlength=(day.max() + 1) * 24).reshape(-1, 24)[30:-30]
    kinds = calendar.weekday(np.arange(len(counts)) + year.settings.start_day + 30)
    scatter = []
    for kind in range(7):
        here = counts[kinds == kind]
        expected = here.sum(axis=1, keepdims=True) * here.sum(axis=0) / here.sum()
        freedom = (len(here) - 1) * 23
        scatter.append(((here - expected) ** 2 / np.maximum(expected, 1e-9)).sum() / freedom)
    assert np.mean(scatter) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("product", range(4))
def test_prices_have_the_median_of_their_product(rows: Rows, product: int) -> None:
    clicks = rows.click.filter(pl.col("product") == product)
    city, destination = clicks["city"].to_numpy(), clicks["destination"].to_numpy()
    usual = DESTINATION_PRICE[destination] * COUNTRY_RATE[CITY_COUNTRY[city]] * clicks["budget"].to_numpy() ** 0.25
    assert np.median(clicks["price"].to_numpy() / 100 / usual) == pytest.approx(PRODUCT_PRICE[product], rel=0.05)

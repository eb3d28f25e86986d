"""What travellers do, measured on frames of numbers: their life cycle, what makes them click and book, and what caused it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec import structs

from generators import (
    FaultSettings,
    FunnelSettings,
    Simulation,
    SimulationSettings,
    campaigns,
    faults,
    feeds,
    lifecycle,
)
from generators.calibration import poisson
from generators.faults import REASONS
from generators.funnel import MOST_LIKELY, Rows
from generators.places import CITY_COUNTRY, COUNTRY_RATE
from generators.population import BOT
from generators.settings import DAY_MS, NewField, milliseconds
from searchflow.errors import UsageError

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
LAST_DAY = milliseconds(NOW) // DAY_MS


def test_only_new_and_active_travellers_act(year: Simulation, rows: Rows) -> None:
    for _, frame in rows.items():
        states = year.population.state(frame["traveller"].to_numpy(), frame["ts"].to_numpy() / DAY_MS)
        assert set(np.unique(states)) == {lifecycle.NEW, lifecycle.ACTIVE}


def test_life_states_have_plausible_shares_and_some_of_the_lapsed_return(year: Simulation) -> None:
    people = np.arange(int(year.population.size(np.array([LAST_DAY]))[0]))
    then, now = (
        year.population.state(people, np.full(len(people), day)) for day in (LAST_DAY - 300.0, float(LAST_DAY))
    )
    share = np.bincount(now, minlength=5) / len(people)
    assert share[lifecycle.NOT_YET] == 0
    assert 0.01 < share[lifecycle.NEW] < 0.1
    assert all(0.15 < share[state] < 0.55 for state in (lifecycle.ACTIVE, lifecycle.LAPSED, lifecycle.GONE))
    returned = (now[then == lifecycle.LAPSED] == lifecycle.ACTIVE).mean()
    assert 0.1 < returned < 0.6
    assert (now[then == lifecycle.GONE] == lifecycle.GONE).all()


def test_the_loyal_return_more_and_book_more(year: Simulation, rows: Rows) -> None:
    clicks = rows.click.with_columns(booked=pl.col("key").is_in(rows.conversion["parent"].implode()))
    loyal, others = (clicks.filter(one)["booked"].mean() for one in (pl.col("loyalty") > 0.6, pl.col("loyalty") < 0.4))
    assert 1.1 < loyal / others < 1.7  # type: ignore[operator]
    people = np.arange(20_000)
    spells = year.population.life(people).spells
    assert spells[people % 10 == 0].mean() > 1.3 * spells[people % 10 != 0].mean()


def test_a_later_visit_often_comes_from_another_channel_or_device(rows: Rows) -> None:
    firsts = rows.search.unique("session", keep="first", maintain_order=True).select(
        "trip", "number", "campaign", "device"
    )
    pairs = firsts.join(firsts.with_columns(pl.col("number") + 1), on=["trip", "number"])
    assert 0.5 < (pairs["campaign"] != pairs["campaign_right"]).mean() < 0.95  # type: ignore[operator]
    assert 0.2 < (pairs["device"] != pairs["device_right"]).mean() < 0.6  # type: ignore[operator]


def test_the_cause_is_drawn_in_proportion_to_the_lifts(rows: Rows) -> None:
    alert = 12  # price_alert: lift 0.80
    unit = (np.arange(9_000) + 0.5) / 9_000
    twice = campaigns.packed(np.full(9_000, alert), np.full(9_000, 0)) + campaigns.packed(
        np.full(9_000, 4), np.full(9_000, 1)
    )
    lifts = np.array([1000, campaigns.LIFT[alert], campaigns.LIFT[4]])
    found = campaigns.cause(unit, twice)
    shares = [(found == one).mean() for one in (campaigns.NO_ONE, alert, 4)]
    assert shares == pytest.approx((lifts / lifts.sum()).tolist(), abs=0.001)
    assert (campaigns.cause(unit, np.zeros(9_000, dtype=np.int64)) == campaigns.NO_ONE).all()


def test_without_a_campaigns_lift_just_the_bookings_it_caused_are_missing(year: Simulation, rows: Rows) -> None:
    alert = 12
    funnel, clicks = year.funnel, rows.click
    touches = pl.sum_horizontal([(pl.col("touched") // 64**n % 64 == alert).cast(pl.Int64) for n in range(8)])
    without = clicks.with_columns(push=pl.col("push") - touches * int(campaigns.LIFT[alert]))
    group = np.unique(funnel.trip_products(clicks), return_inverse=True)[1]

    def expected(clicks: pl.DataFrame) -> float:
        """Bookings, when each trip books a product once and `books_again` of its decisions besides."""
        chance = np.minimum(funnel.booking_weight(clicks) * funnel.rates.booking, MOST_LIKELY)
        again = year.settings.funnel.books_again
        none = np.bincount(group, weights=np.log1p(-chance * (1 - again)))
        return float(again * chance.sum() - np.expm1(none).sum())

    assert len(rows.conversion) == pytest.approx(expected(clicks), rel=0.03)
    missing = expected(clicks) - expected(without)
    caused = (rows.conversion["cause"] == alert).sum()
    assert caused > 150
    assert abs(caused - missing) < 4 * np.sqrt(missing)


def test_a_trip_books_a_product_once_but_for_a_few(rows: Rows) -> None:
    booked = rows.conversion.group_by("trip", "product").len()["len"]
    assert 0.002 < (booked > 1).mean() < 0.03  # type: ignore[operator]
    trips = rows.conversion.group_by("trip").agg(pl.len(), pl.col("product").n_unique().alias("products"))
    assert 0.02 < (trips["products"] > 1).mean() < 0.1  # type: ignore[operator]  # a flight, and a hotel to it
    assert (trips["len"] > trips["products"]).mean() < 0.03  # type: ignore[operator]


def test_bookings_of_a_product_again_are_a_setting() -> None:
    shares = []
    for again in (0.0, 0.5):
        world = SimulationSettings.for_history(
            until=NOW, days=20, events=30_000, funnel=FunnelSettings(books_again=again), faults=FaultSettings.none()
        )
        parts = [made.conversion for _, made in Simulation(world).windows(until=NOW)]
        shares.append((pl.concat(parts).group_by("trip", "product").len()["len"] > 1).mean())
    assert shares[0] == 0
    assert shares[1] > 0.05  # type: ignore[operator]


def test_a_rate_that_trips_cannot_reach_is_refused() -> None:
    funnel = FunnelSettings(conversion_rate=0.8)
    with pytest.raises(UsageError, match="conversion_rate"):
        Simulation(SimulationSettings.for_history(until=NOW, days=5, events=1_000, funnel=funnel))


def test_lead_times_and_stays_of_bookings_are_those_of_the_hotel_data(rows: Rows) -> None:
    lead = (rows.conversion["check_in"] - rows.conversion["ts"] // DAY_MS).to_numpy()
    assert lead.mean() == pytest.approx(104, rel=0.1)
    assert np.median(lead) == pytest.approx(69, rel=0.1)
    assert np.quantile(lead, 0.9) == pytest.approx(265, rel=0.1)
    assert rows.conversion["nights"].mean() == pytest.approx(3.4, rel=0.1)


def test_advertising_pays_back_three_to_eight_times(year: Simulation, rows: Rows) -> None:
    spend = feeds.ad_spend(year, after=None, until=NOW)
    cost = (spend["cost"] * spend["currency"].replace_strict({"CAD": 1.0, "USD": 1 / 0.73})).sum()
    paid = rows.conversion.filter(pl.Series(campaigns.PAID[rows.conversion["campaign"].to_numpy()]))
    value = (paid["value"].to_numpy() / 100 / COUNTRY_RATE[CITY_COUNTRY[paid["city"].to_numpy()]]).sum()
    assert 3 < value / cost < 8


def test_trips_arrive_as_a_poisson_process(year: Simulation) -> None:
    days = np.arange(year.settings.start_day, year.settings.start_day + 4_000)
    expected = year.traffic._base * year.calendar.weight(days)
    scatter = (year.traffic.trips(days) - expected) ** 2 / expected
    assert scatter.mean() == pytest.approx(1, abs=0.1)  # the standard error is 0.022


@pytest.mark.parametrize("mean", [0.3, 8, 39, 41, 5_000])
def test_poisson_quantiles_have_mean_and_variance_alike(mean: float) -> None:
    drawn = poisson(np.full(20_000, mean), (np.arange(20_000) + 0.5) / 20_000)
    assert drawn.mean() == pytest.approx(mean, rel=0.005)
    assert drawn.var() == pytest.approx(mean, rel=0.02)


def test_other_rates_hold_too() -> None:
    wanted = FunnelSettings(click_rate=0.2, conversion_rate=0.05)
    world = SimulationSettings.for_history(until=NOW, days=60, events=140_000, funnel=wanted)
    simulation = Simulation(world)
    made = [simulation.funnel.rows(part) for part in simulation.visits(world.start_day, LAST_DAY)]
    searches, clicks, bookings = (
        pl.concat([getattr(one, name) for one in made]) for name in ("search", "click", "conversion")
    )
    assert len(searches) > 100_000
    assert clicks["parent"].n_unique() / len(searches) == pytest.approx(0.2, abs=0.01)
    assert len(bookings) / len(clicks) == pytest.approx(0.05, abs=0.01)


def with_faults(**rates: object) -> tuple[Simulation, Rows, Rows]:
    world = SimulationSettings.for_history(
        until=NOW, days=10, events=15_000, faults=structs.replace(FaultSettings.none(), **rates)
    )
    simulation = Simulation(world)
    made = pl.concat(list(simulation.visits(world.start_day, LAST_DAY))).filter(pl.col("start") < LAST_DAY * DAY_MS)
    clean = simulation.funnel.rows(made)
    return simulation, clean, faults.add(simulation.draws, world.faults, clean)


def fates(rows: Rows) -> list[str]:
    return [
        faults.reason_code(code) or faults.fate_name(code)
        for _, frame in rows.items()
        for code in frame["fate"].to_list()
    ]


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_own_rate(reason: str) -> None:
    _, clean, sent = with_faults(**{reason: 0.05})
    found = fates(sent)
    assert set(found) == {"stored", reason}
    assert found.count(reason) / len(clean) == pytest.approx(0.05, abs=0.01)


def test_a_perfect_world_has_no_fault_at_all() -> None:
    _, clean, sent = with_faults()
    assert set(fates(sent)) == {"stored"}
    assert (clean.search["arrival"] == clean.search["ts"]).all()
    assert (clean.search["traveller"] < BOT).all()


def test_duplicates_lateness_and_disorder_have_their_rates() -> None:
    _, clean, sent = with_faults(duplicates=0.05)
    assert fates(sent).count("duplicate") / len(clean) == pytest.approx(0.05, abs=0.01)
    late = with_faults(late=0.2)[1].search.unique("session")
    hours = ((late["arrival"] - late["ts"]) / 3_600_000).to_numpy()
    assert (hours > 0).mean() == pytest.approx(0.2, abs=0.025)
    assert hours.max() <= 72
    assert np.log(hours[hours > 0]).mean() == pytest.approx(np.log(2), abs=0.15)
    jitter = with_faults(out_of_order=0.2)[1].search
    assert (jitter["arrival"] > jitter["ts"]).mean() == pytest.approx(0.2, abs=0.02)


def test_wrong_clocks_are_hours_behind_or_minutes_ahead() -> None:
    visits = with_faults(clock_skew=0.2)[1].search.unique("session")
    minutes = ((visits["ts"] - visits["arrival"]) / 60_000).to_numpy()
    assert (minutes != 0).mean() == pytest.approx(0.2, abs=0.025)
    assert minutes.min() >= -720
    assert 0 < minutes.max() <= 4  # ingestion tolerates five


def test_clicking_bots_click_faster_than_people_and_never_book() -> None:
    _, rows, _ = with_faults(clicking_bots=0.1)
    bots = rows.click.filter(pl.col("traveller") >= BOT)
    assert (rows.search["traveller"] >= BOT).mean() == pytest.approx(0.1, abs=0.03)
    assert (bots.group_by("parent").agg(pl.col("ts").min() - pl.col("parent_ts").first())["ts"] <= 260).all()
    assert (rows.conversion["traveller"] < BOT).all()


def test_new_fields_come_from_their_day_on() -> None:
    since, kinds = date(2026, 6, 10), ("string", "integer", "number", "boolean")
    fields = tuple(NewField(name=f"new_{kind}", since=since, kind=kind) for kind in kinds)
    simulation, _, _ = with_faults(new_fields=fields)
    for batch in simulation.batches(until=NOW):
        for frame in batch.frames.values():
            for at, line in frame.select("timestamp", "line").iter_rows():
                document = msgspec.json.decode(line)
                assert ("new_string" in document) == (at.date() >= since)
                if at.date() >= since:
                    assert [type(document[f"new_{kind}"]) for kind in kinds] == [str, int, float, bool]

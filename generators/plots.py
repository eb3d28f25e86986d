"""Pictures of a run beside what is configured: `python -m generators.plots docs/images` (docs/guides/simulator.md)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from generators import calendar, campaigns, feeds, journeys
from generators.calendar import WEEKDAYS, WORKDAY_HOURS, month_of
from generators.places import (
    CITIES,
    CITY_COUNTRY,
    COUNTRY_RATE,
    DESTINATION_PRICE,
    NIGHT_WEIGHTS,
    NIGHTS,
    PRODUCT_PRICE,
    PRODUCTS,
)
from generators.population import BOT
from generators.settings import DAY_MS, SimulationSettings
from generators.simulation import Simulation
from generators.svg import chart

UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
WORLD = SimulationSettings.for_history(until=UNTIL, days=730, events=500_000, seed=42)
_WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
Numbers = NDArray[Any]


class PlottedRun:
    """The events of a run as numbers, people only."""

    def __init__(self, world: SimulationSettings) -> None:
        self.simulation = Simulation(world)
        parts = [rows for _, rows in self.simulation.windows(until=world.normalized_until)]
        self.search, self.click, self.conversion = (
            pl.concat([dict(rows.items())[name] for rows in parts]).filter(
                pl.col("fate") == 0, pl.col("traveller") < BOT
            )
            for name in ("search", "click", "conversion")
        )
        self.visits = self.search.sort("ts").group_by("session", maintain_order=True).first()


def share(values: Numbers) -> list[float]:
    """Return the values as percent of their sum."""
    return [float(value) for value in 100 * values / values.sum()]


def _local(visits: pl.DataFrame) -> pl.Series:
    """Return when visits began, by the clock on the wall."""
    zones = pl.Series([city.zone for city in CITIES]).gather(visits["city"])
    at = visits.select("ts", zones.alias("zone")).group_by("zone", maintain_order=True)
    return pl.concat(
        [pl.Series(calendar.local_ms(part["ts"].to_numpy(), str(zone))).cast(pl.Datetime("ms")) for (zone,), part in at]
    )


def hours(run: PlottedRun) -> str:
    """Plot the local hour of visits on workdays."""
    local = _local(run.visits)
    made = np.bincount(local.filter(local.dt.weekday() <= 5).dt.hour(), minlength=24)
    names = [f"{hour}" for hour in range(24)]
    return chart("Local hour of day", "Visits on workdays, % by hour", names, share(made), share(WORKDAY_HOURS), "%")


def weekdays(run: PlottedRun) -> str:
    """Plot the local weekday of each trip's first visit: later ones depend on it."""
    made = np.bincount(_local(run.visits.filter(pl.col("number") == 1)).dt.weekday() - 1, minlength=7)
    return chart("Weekday", "First visits of trips, % by local day", _WEEKDAY_NAMES, share(made), share(WEEKDAYS), "%")


def season(run: PlottedRun) -> str:
    """Plot visits by month, with growth taken out."""
    days = run.visits["ts"].to_numpy() // DAY_MS
    weight = (1 + WORLD.growth) ** -((days - WORLD.start_day) / 365.25)
    made = np.bincount(month_of(days), weights=weight, minlength=12)
    every = np.arange(WORLD.start_day, WORLD.start_day + 730)
    calendar = run.simulation.calendar.weight(every) * (1 + WORLD.growth) ** -((every - WORLD.start_day) / 365.25)
    configured = np.bincount(month_of(every), weights=calendar, minlength=12)
    return chart("Season", "Visits, % by month, growth taken out", _MONTH_NAMES, share(made), share(configured), "%")


def growth(run: PlottedRun) -> str:
    """Plot visits by fortnight of the history."""
    since = (run.visits["ts"].to_numpy() // DAY_MS - WORLD.start_day) // 14
    every = np.arange(728)
    wanted = np.bincount(every // 14, weights=run.simulation.calendar.weight(WORLD.start_day + every))
    made = np.bincount(since[(since >= 0) & (since < 52)], minlength=52)
    note = "Visits, % by fortnight of two years: growth of 25% a year with season and holidays"
    return chart("Growth", note, [f"{2 * week}w" for week in range(52)], share(made), share(wanted), "%")


def lead(run: PlottedRun) -> str:
    """Plot the days from booking to stay."""
    days = run.conversion["check_in"].to_numpy() - run.conversion["ts"].to_numpy() // DAY_MS
    edges = np.arange(0, 421, 30)
    made, _ = np.histogram(days, edges)
    wanted = np.diff(np.interp(edges, journeys.LEAD_DAYS, journeys.LEAD_SHARES))
    note = (
        f"Mean {days.mean():.0f}, median {np.median(days):.0f}, 90th percentile {np.percentile(days, 90):.0f} days "
        "(source: 104, 69, 265)"
    )
    return chart("Booking lead time", note, [str(day) for day in edges[:-1]], share(made), share(wanted), "%")


def nights(run: PlottedRun) -> str:
    """Plot the length of stay of bookings."""
    stays = run.conversion["nights"].to_numpy()
    made = np.array([(stays == night).sum() for night in NIGHTS])
    note = f"Bookings, % by nights; mean {stays.mean():.2f} (source: 3.4)"
    return chart("Nights", note, [str(n) for n in NIGHTS], share(made), share(np.asarray(NIGHT_WEIGHTS)), "%")


def prices(run: PlottedRun) -> str:
    """Plot clicked prices by product, with the traveller's budget, the destination and the currency taken out."""
    clicks = run.click
    city, destination = clicks["city"].to_numpy(), clicks["destination"].to_numpy()
    others = DESTINATION_PRICE[destination] * COUNTRY_RATE[CITY_COUNTRY[city]] * clicks["budget"].to_numpy() ** 0.25
    price = clicks["price"].to_numpy() / 100 / others
    made = [float(np.median(price[clicks["product"].to_numpy() == code])) for code in range(len(PRODUCTS))]
    names = ("hotel, a night", "flight, a seat", "package, a person", "car, a day")
    note = "Median of clicked prices, CAD; budget, destination and currency taken out"
    return chart("Prices", note, names, made, PRODUCT_PRICE.tolist())


def positions(run: PlottedRun) -> str:
    """Plot clicks by their position."""
    places = np.arange(1, 11)
    found = run.click["position"].to_numpy()
    made = np.array([(found == place).sum() for place in places])
    wanted = places**-WORLD.funnel.position_exponent
    note = f"Clicks on the first ten, % by position; configured: position^-{WORLD.funnel.position_exponent}"
    return chart("Clicks by position", note, [str(p) for p in places], share(made), share(wanted), "%")


def funnel(run: PlottedRun) -> str:
    """Plot the rates of the funnel."""
    searches, wanted = len(run.search), WORLD.funnel
    made = [
        run.click["parent"].n_unique() / searches,
        run.conversion["parent"].n_unique() / len(run.click),
        int((run.search["results"] == 0).sum()) / searches,
        1 - int(run.visits["known"].sum()) / len(run.visits),
    ]
    configured = [wanted.click_rate, wanted.conversion_rate, wanted.zero_result_rate, wanted.anonymous_share]
    names = ("searches clicked", "clicks booked", "no results", "visits anonymous")
    return chart("Funnel", "% of searches, clicks, searches, visits", names, _percent(made), _percent(configured), "%")


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * float(value) for value in values]


def lateness(run: PlottedRun) -> str:
    """Plot how late the late visits' events arrive."""
    delay = run.visits["delay"].to_numpy() / 3_600_000
    late = delay[delay > 0]
    edges = np.array([0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 72.1])
    made, _ = np.histogram(late, edges)
    normal = NormalDist()
    below = [normal.cdf(np.log(edge / 2) / 1.1) if edge else 0.0 for edge in edges[:-1]] + [1.0]
    note = f"Late visits ({100 * len(late) / len(delay):.2f}% of all; configured 0.5%), % by hours of delay"
    names = [f"{low:g}-{high:g}" for low, high in zip(edges[:-1], [*edges[1:-1], 72], strict=True)]
    return chart("Lateness", note, names, share(made), share(np.diff(below)), "%")


def journey_length(run: PlottedRun) -> str:
    """Plot the number of visits per trip."""
    planned = pl.concat(list(run.simulation.visits(WORLD.start_day + 100, WORLD.start_day + 400)))
    first = planned.filter(pl.col("number") == 1, pl.col("traveller") < BOT)
    made = np.bincount(first["of"].to_numpy(), minlength=9)[1:]
    names = [str(number) for number in range(1, 9)]
    return chart("Journey length", "Trips, % by number of visits", names, share(made), share(journeys.VISITS), "%")


def spend(run: PlottedRun) -> str:
    """Plot the cost per click of each paid campaign."""
    rows = feeds.ad_spend(run.simulation, after=None, until=UNTIL)
    paid = [one for one in campaigns.CAMPAIGNS if one.cost_per_click]
    made = []
    for one in paid:
        own = rows.filter(pl.col("utm_source") == one.source, pl.col("utm_campaign") == one.campaign)
        made.append(float(own["cost"].sum()) / int(own["clicks"].sum()))
    note = "Spend / clicks by campaign, in its currency; lower where the daily budget ends"
    words = [(one.campaign or "").split("_")[0] for one in paid]
    names = [f"{word} (bing)" if one.source == "bing" else word for word, one in zip(words, paid, strict=True)]
    return chart("Ad spend and clicks", note, names, made, [one.cost_per_click for one in paid])


PLOTS = {
    "hour": hours,
    "weekday": weekdays,
    "season": season,
    "growth": growth,
    "lead-time": lead,
    "nights": nights,
    "prices": prices,
    "position": positions,
    "funnel": funnel,
    "lateness": lateness,
    "journeys": journey_length,
    "spend": spend,
}


def main(arguments: list[str]) -> int:
    """Write `simulator-<name>.svg` of each plot into a folder."""
    folder, run = Path(arguments[0] if arguments else "docs/images"), PlottedRun(WORLD)
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        (folder / f"simulator-{name}.svg").write_text(plot(run))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

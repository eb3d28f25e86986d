"""The funnel from a visit to a booking: the searches of each visit, the results clicked, and the clicks that are
booked.

Rates are relative here: `Rates` carries the two factors that `calibration` chose so that the settings hold on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from generators import campaigns
from generators.calendar import Calendar
from generators.draws import Draws, Floats, Ints, Keys, pick, pick_by_row, power_law
from generators.journeys import home_city, running_sum, whole_trips
from generators.offers import offered, typical_price
from generators.places import (
    COMPUTER,
    DESTINATIONS_FROM,
    DEVICE_BOOK,
    DEVICE_CLICK,
    DEVICE_WEIGHTS,
    PHONE_BROWSER,
    PRODUCT_COMMISSION,
    PRODUCT_RESULTS,
    PRODUCT_WEIGHTS,
)
from generators.population import BOT, Population
from generators.settings import DAY_MS, SimulationSettings

PAGE_SIZE = 25
MAX_CLICKS = np.array([78, 15, 5, 2])  # 1 .. 4 clicks on a search that is clicked at all
SLOW_BOOKING_SHARE, SLOW_BOOKING_DAYS = 0.2, 7
TEMPLATES = 7  # ways to word a query (see rendering)
NEVER = 1 << 15
MOST_LIKELY = 0.9  # no click is surer to be booked
CARRIED = ("trip", "number", "campaign", "push", "touched", "loyalty", "clicker")
"""The columns that searches and clicks take over from their visit: the journey so far, and who the visitor is."""

DECISION = ("trip", "product", "number", "ts", "key", "touched")


@dataclass(frozen=True)
class Rates:
    """The factors on the relative probabilities."""

    click: float = 1.0
    booking: float = 1.0


@dataclass(frozen=True)
class Rows:
    """Events as numbers, one frame for each type. All have key, ts, arrival (ms), session, traveller, known."""

    search: pl.DataFrame
    click: pl.DataFrame
    conversion: pl.DataFrame

    def __len__(self) -> int:
        return len(self.search) + len(self.click) + len(self.conversion)

    def items(self) -> list[tuple[str, pl.DataFrame]]:
        """Return (event type, frame) in the order of the funnel."""
        return [("search", self.search), ("click", self.click), ("conversion", self.conversion)]

    def where(self, condition: pl.Expr) -> Rows:
        """Return the rows of every type that fulfil `condition`."""
        return Rows(*(frame.filter(condition) for _, frame in self.items()))

    def __add__(self, other: Rows) -> Rows:
        pairs = zip(self.items(), other.items(), strict=True)
        return Rows(*(pl.concat([mine, theirs], rechunk=True) for (_, mine), (_, theirs) in pairs))


class Funnel:
    """A funnel that makes the events of visits."""

    def __init__(
        self, settings: SimulationSettings, draws: Draws, population: Population, calendar: Calendar, rates: Rates
    ) -> None:
        self._settings, self._draws, self._population, self.rates = settings, draws, population, rates
        self._calendar = calendar

    def rows(self, visits: pl.DataFrame) -> Rows:
        """Return all events of `visits`, also those that happen days later."""
        searches = self.searches(visits)
        clicks = self.clicks(searches)
        decided = self.decisions(clicks)
        return Rows(searches, clicks, self._bookings(decided, self.settled(self._of_whole_trips(decided, visits))))

    def searches(self, visits: pl.DataFrame) -> pl.DataFrame:
        """Return one row for each search."""
        draws, funnel = self._draws, self._settings.funnel
        seen = self._visit_facts(visits)
        repeat = visits["searches"].to_numpy()
        made = seen[np.repeat(np.arange(len(seen)), repeat)]
        number = np.arange(len(made)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        visit, bot = made["session"].to_numpy(), made["traveller"].to_numpy() >= BOT
        key = draws.child("search", visit, number)
        ts = made["start"].to_numpy() + running_sum(_search_gaps(draws, key, number, bot), repeat)
        # The first search of a visit is for what it was made for.
        strays = number > 0
        wanders = strays & (draws.uniform("wanders", key) < np.where(made["progress"].to_numpy() < 1.0, 0.5, 0.2))
        product = np.where(
            strays & (draws.uniform("other product", key) < 0.25),
            draws.choose("searched product", key, PRODUCT_WEIGHTS),
            made["product"].to_numpy(),
        )
        destination = np.where(
            wanders | bot,
            pick_by_row(draws.uniform("searched destination", key), made["city"].to_numpy(), DESTINATIONS_FROM),
            made["destination"].to_numpy(),
        )
        filtered = draws.uniform("price filter", key) < 0.35
        # A price filter finds nothing more often; the two factors keep the mean at 1.
        nothing = draws.uniform("nothing", key) < funnel.zero_result_rate * np.where(filtered, 1.65, 0.65)
        many = PRODUCT_RESULTS[product] * np.exp(0.7 * draws.normal("results", key)) * np.where(filtered, 0.4, 1)
        page = 1 + np.where(
            draws.uniform("pages on", key) < 0.12, np.minimum(draws.exponential("page", key), 4).astype(np.int64) + 1, 0
        )
        results = np.where(nothing, 0, np.maximum(many.astype(np.int64), 1 + (page - 1) * PAGE_SIZE))
        top = typical_price(product, destination, made["budget"].to_numpy(), made["city"].to_numpy())
        high = np.where(filtered, np.maximum(10, np.round(top * (1 + draws.uniform("high", key)) / 10) * 10), 0)
        low = np.where(draws.uniform("low filter", key) < 0.4, np.floor(high * 0.3 / 5) * 5, 0)
        delay = made["delay"].to_numpy() + self._jitter(key)
        return made.select(
            pl.Series("key", key),
            pl.Series("ts", ts),
            pl.Series("arrival", ts + delay),
            "session",
            "traveller",
            pl.Series("known", number >= made["login"].to_numpy()),
            "registered",
            "city",
            "french",
            "device",
            *CARRIED,
            "budget",
            "progress",
            "delay",
            "nights",
            "party",
            "check_in",
            pl.Series("product", product),
            pl.Series("destination", destination),
            pl.Series("wording", draws.below("wording", key, TEMPLATES)),
            pl.Series("dated", draws.uniform("dated", key) < 0.85),
            pl.Series("price_low", low.astype(np.int64)),
            pl.Series("price_high", high.astype(np.int64)),
            pl.Series("page", np.where(nothing, 1, page)),
            pl.Series("results", results),
        )

    def _visit_facts(self, visits: pl.DataFrame) -> pl.DataFrame:
        """Return the facts that are true of a whole visit."""
        draws, population = self._draws, self._population
        key, traveller = visits["visit"].to_numpy(), visits["traveller"].to_numpy()
        number, of, start = (visits[name].to_numpy() for name in ("number", "of", "start"))
        traits, bot = population.traits(traveller), traveller >= BOT
        skew = np.where(bot, 0, self._clock_skew(key))
        clicker = bot & (draws.uniform("bot kind", key) < self._settings.faults.clicking_share_of_bots)
        habit = draws.uniform("habit", key)
        device = np.where(habit < 0.72, traits.device, traits.second_device)
        device = np.where(habit > 0.95, draws.choose("borrowed device", key, DEVICE_WEIGHTS), device)
        on_phone = draws.uniform("on a phone", key) < campaigns.PHONES[visits["campaign"].to_numpy()]
        device = np.where(on_phone & (device == COMPUTER), PHONE_BROWSER, device)
        city = home_city(population, traveller)
        late = draws.uniform("late", key) < self._settings.faults.late
        hours = np.minimum(2 * np.exp(1.1 * draws.normal("lateness", key)), 72.0)
        return visits.select(
            pl.col("visit").alias("session"),
            pl.Series("start", start + skew),  # by the client's clock
            "trip",
            "number",
            "campaign",
            "push",
            "touched",
            pl.Series("clicker", clicker),
            "traveller",
            "destination",
            "product",
            "check_in",
            "nights",
            "party",
            pl.Series("registered", traits.registered & ~bot),
            pl.Series("city", city),
            pl.Series("french", population.speaks_french(traveller, city) & ~bot),
            pl.Series("device", np.where(bot, COMPUTER, device)),
            pl.Series("budget", traits.budget),
            pl.Series("loyalty", traits.loyalty),
            pl.Series("progress", number / of),
            pl.Series("delay", np.where(late, (hours * 3_600_000).astype(np.int64), 0) - skew),
            pl.Series("login", self._logins(key, traits.registered & ~bot, visits["searches"].to_numpy())),
        )

    def _clock_skew(self, visit: Keys) -> Ints:
        """Return the milliseconds that the client's clock is ahead. Mostly it is behind, for minutes to hours.

        Ahead it stays within the five minutes that ingestion tolerates: beyond them the fate of an event would depend on
        when it is ingested. Clocks that are years ahead are the fault `timestamp_in_future`.
        """
        draws = self._draws
        wrong = draws.uniform("clock", visit) < self._settings.faults.clock_skew
        behind = np.minimum(20 * np.exp(1.2 * draws.normal("clock behind", visit)), 720.0) * 60_000
        ahead = draws.uniform("clock ahead", visit) * 240_000
        skew = np.where(draws.uniform("clock direction", visit) < 0.8, -behind, ahead)
        return np.where(wrong, skew, 0).astype(np.int64)

    def _logins(self, visit: Keys, registered: np.ndarray, searches: Ints) -> Ints:
        """Return from which search of a visit on (0: all of them) the site knows who the visitor is."""
        draws = self._draws
        known = registered & (draws.uniform("anonymous", visit) >= self._population.anonymous_when_registered)
        # Only registered people can log in half-way, and only visits with two searches have a half-way (58%).
        share = min(1.0, self._settings.funnel.login_midway_share * 2 / 0.58)
        midway = registered & ~known & (searches > 1) & (draws.uniform("logs in", visit) < share)
        later = 1 + draws.below("logs in at", visit, np.maximum(searches - 1, 1))
        return np.where(known, 0, np.where(midway, later, NEVER))

    def _jitter(self, key: Keys) -> Ints:
        """Return the milliseconds by which some events arrive later than others of the same minute."""
        share = self._settings.faults.out_of_order
        return np.where(
            self._draws.uniform("out of order", key) < share, 1 + self._draws.below("jitter", key, 59_000), 0
        )

    def click_weight(self, searches: pl.DataFrame) -> Floats:
        """Return how likely each search is to be clicked, relative to others."""
        device, page, campaign, traveller, results, progress, loyalty = (
            searches[name].to_numpy()
            for name in ("device", "page", "campaign", "traveller", "results", "progress", "loyalty")
        )
        choice = 0.75 + 0.25 * np.minimum(results, 20) / 20  # three results tempt less than twenty
        weight = DEVICE_CLICK[device] * np.where(page > 1, 0.75, 1.0) * choice * (0.85 + 0.3 * progress)
        weight *= campaigns.READINESS[campaign] ** 0.5 * (0.9 + 0.3 * loyalty)
        return np.asarray(np.where((results == 0) | (traveller >= BOT), 0.0, weight))

    def clicks(self, searches: pl.DataFrame) -> pl.DataFrame:
        """Return one row for each click on a result."""
        draws = self._draws
        chance = np.minimum(self.click_weight(searches) * self.rates.click, 0.95)
        keys = searches["key"].to_numpy()
        chance = np.where(searches["clicker"].to_numpy() & (searches["results"].to_numpy() > 0), 1.0, chance)
        clicked = np.flatnonzero(draws.uniform("clicks", keys) < chance)
        repeat = 1 + pick(draws.uniform("how many clicks", keys[clicked]), MAX_CLICKS)
        made = searches[np.repeat(clicked, repeat)]
        number = np.arange(len(made)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        key = draws.child("click", made["key"].to_numpy(), number)
        wait = 2_500 + (16_000 * np.exp(0.8 * draws.normal("looks", key))).astype(np.int64)
        wait = np.where(made["clicker"].to_numpy(), 60 + draws.below("bot click", key, 200), np.minimum(wait, 600_000))
        ts = made["ts"].to_numpy() + running_sum(wait, repeat)
        results, page = made["results"].to_numpy(), made["page"].to_numpy()
        shown = np.clip(results - (page - 1) * PAGE_SIZE, 1, PAGE_SIZE)
        place = power_law(draws.uniform("position", key), shown, self._settings.funnel.position_exponent, PAGE_SIZE)
        position = place + (page - 1) * PAGE_SIZE
        # The same place in the list of the same search is the same result.
        ids = made["key"].to_numpy() ^ position.astype(np.uint64)
        offers = offered(draws, made, ids)
        arrival = ts + made["delay"].to_numpy() + self._jitter(key)
        return made.select(
            pl.Series("key", key),
            pl.Series("ts", ts),
            # Never before its search: a cut between two runs must not separate them the wrong way round.
            pl.Series("arrival", np.maximum(arrival, made["arrival"].to_numpy())),
            "session",
            "traveller",
            "known",
            "registered",
            "city",
            "device",
            *CARRIED,
            "budget",
            "progress",
            "delay",
            "nights",
            "party",
            "check_in",
            "product",
            "destination",
            pl.col("key").alias("parent"),
            pl.col("ts").alias("parent_ts"),
            pl.Series("position", position),
            pl.Series("price", offers.price),
            pl.Series("result", offers.result),
            pl.Series("provider", offers.provider),
        )

    def booking_weight(self, clicks: pl.DataFrame) -> Floats:
        """Return how likely each click is to become a booking, relative to others."""
        device, campaign, push, loyalty, bot, product, position, progress, budget, price, city, destination = (
            clicks[name].to_numpy()
            for name in (
                "device", "campaign", "push", "loyalty", "clicker", "product", "position",
                "progress", "budget", "price", "city", "destination",
            )
        )  # fmt: skip
        usual = typical_price(product, destination, budget, city)
        strain = np.abs(np.log(price / 100 / usual))  # far from what they want to pay, above or below
        weight = DEVICE_BOOK[device] * campaigns.READINESS[campaign] * np.exp(-0.6 * strain) * position**-0.08
        weight *= (0.55 + 0.9 * progress) * np.exp(0.6 * loyalty) * (1 + push / 1000)
        return np.asarray(np.where(bot, 0.0, weight))

    def conversions(self, clicks: pl.DataFrame) -> pl.DataFrame:
        """Return one row for each booking; `clicks` are all clicks of their trips."""
        decided = self.decisions(clicks)
        return self._bookings(decided, self.settled(decided))

    def decisions(self, clicks: pl.DataFrame) -> pl.DataFrame:
        """Return the clicks on what their traveller decides to take, unless it is booked already."""
        chance = np.minimum(self.booking_weight(clicks) * self.rates.booking, MOST_LIKELY)
        return clicks.filter(pl.Series(self._draws.uniform("books", clicks["key"].to_numpy()) < chance))

    @staticmethod
    def trip_products(clicks: pl.DataFrame) -> Keys:
        """Return a number for each trip and product."""
        return np.asarray(clicks["trip"].to_numpy() ^ clicks["product"].to_numpy().astype(np.uint64))

    def _of_whole_trips(self, decided: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
        """Return all decisions of the trips of `decided`. Those of other visits are made again: visits know nothing of
        each other."""
        several = visits.filter(pl.col("of") > 1, pl.col("trip").is_in(decided["trip"].implode()))
        if not len(several):
            return decided
        again = whole_trips(self._draws, self._population, self._calendar, several)
        made = self.decisions(self.clicks(self.searches(again)))
        alone = decided.filter(~pl.col("trip").is_in(several["trip"].implode()))
        return pl.concat([alone.select(DECISION), made.select(DECISION)])

    def settled(self, decided: pl.DataFrame) -> pl.DataFrame:
        """Return (key, cause) of the decisions that are bookings; `decided` are all decisions of their trips.

        A trip books a product once: at its first decision. `books_again` of the decisions are bookings all the same. A
        campaign is the cause when without it there would be no booking: when every decision is of its stream.
        """
        key = decided["key"].to_numpy()
        streams = campaigns.cause(self._draws.uniform("cause", key), decided["touched"].to_numpy())
        again = pl.Series(self._draws.uniform("books again", key) < self._settings.funnel.books_again)
        decided = decided.with_columns(pl.Series("cause", streams))
        once = decided.filter(~again).sort("number", "ts", "key").group_by("trip", "product")
        alike = pl.col("cause").n_unique() == 1
        booked = once.agg(
            pl.col("key").first(), pl.when(alike).then(pl.col("cause").first()).otherwise(campaigns.NO_ONE)
        )
        return pl.concat([booked.select("key", "cause"), decided.filter(again).select("key", "cause")])

    def _bookings(self, decided: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
        draws = self._draws
        made = decided.join(settled, on="key", maintain_order="left")
        parent = made["key"].to_numpy()
        key = draws.child("conversion", parent, np.zeros(len(made), dtype=np.int64))
        registered, product = made["registered"].to_numpy(), made["product"].to_numpy()
        slow = registered & (draws.uniform("sleeps on it", key) < SLOW_BOOKING_SHARE)
        quick = 40_000 + (480_000 * np.exp(0.7 * draws.normal("form", key))).astype(np.int64)
        days = np.minimum(0.05 + 1.3 * draws.exponential("decides", key), SLOW_BOOKING_DAYS)
        left = made["check_in"].to_numpy() - made["ts"].to_numpy() / DAY_MS  # no one books after the stay began
        days = np.minimum(days, np.maximum(left - 0.5, 0.05))
        ts = made["ts"].to_numpy() + np.where(slow, (days * DAY_MS).astype(np.int64), np.minimum(quick, 6_600_000))
        nights, party = made["nights"].to_numpy(), made["party"].to_numpy()
        units = np.choose(product, [nights, party, party, nights + 1])
        value = np.round(made["price"].to_numpy() * units * (0.98 + 0.14 * draws.uniform("taxes", key)))
        arrival = ts + np.where(slow, 0, made["delay"].to_numpy()) + self._jitter(key)
        return made.select(
            pl.Series("key", key),
            pl.Series("ts", ts),
            pl.Series("arrival", np.maximum(arrival, made["arrival"].to_numpy())),
            # Who comes back after days has a new session, and logs in, or no one could tell that it is the same person.
            pl.Series("session", np.where(slow, draws.bits("new session", key), made["session"].to_numpy())),
            "traveller",
            pl.Series(
                "known", made["known"].to_numpy() | slow | (registered & (draws.uniform("logs in to pay", key) < 0.8))
            ),
            "city",
            "trip",
            "number",
            "campaign",
            "cause",
            "nights",
            "check_in",
            pl.col("key").alias("parent"),
            pl.col("ts").alias("parent_ts"),
            "product",
            "provider",
            pl.Series("value", value.astype(np.int64)),
            pl.Series("commission", np.round(value * PRODUCT_COMMISSION[product]).astype(np.int64)),
        )


def _search_gaps(draws: Draws, key: Keys, number: Ints, bot: np.ndarray) -> Ints:
    """Return milliseconds since the search before; now and then a visitor leaves for an hour with the page open."""
    think = np.minimum(6_000 + 42_000 * np.exp(0.9 * draws.normal("thinks", key)), 1_500_000)
    away = 2_100_000 + 3_300_000 * draws.uniform("away", key)
    person = np.where(draws.uniform("leaves", key) < 0.03, away, think)
    return np.where(number == 0, 0, np.where(bot, 900 + 2_500 * draws.uniform("bot gap", key), person)).astype(np.int64)

"""Live traffic: events that happen now, at a steady number a second.

Visits begin all the time and their events wait for their turn; the next one in line happens every 1/rate seconds. A
click therefore follows a search that was made live, and a booking such a click. People are hastier than in the history
(a booking takes seconds rather than minutes), so that a demonstration of a minute shows the whole funnel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from generators import faults, journeys
from generators.answer_key import AnswerKey
from generators.draws import Ints
from generators.funnel import Rows
from generators.publishers import Publisher
from generators.settings import DAY_MS, SimulationSettings, milliseconds, moment
from generators.simulation import Batch, Simulation, batch_of
from searchflow.clock import utc_now
from searchflow.errors import UsageError

TICK_SECONDS = 0.1
MAX_RATE = 50_000.0
MAX_LAG = timedelta(seconds=5)
"""The longest lag. Further behind, time is skipped: events keep current timestamps, and the traffic is thinner for a
moment."""
SEARCH_HASTE, CLICK_HASTE, BOOKING_HASTE = 4, 6, 30
_TRIPS_AT_A_TIME = 64
log = logging.getLogger(__name__)


@dataclass
class LiveReport:
    """The counts of what was sent."""

    events: int = 0
    lines: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    seconds_slower: float = 0.0  # how far the receiver held the traffic up


class LiveTraffic:
    """A planner of live events, some at a time. It says nothing about pace."""

    def __init__(self, simulation: Simulation, rate: float, begin: datetime) -> None:
        self._simulation, self._begin = simulation, milliseconds(begin)
        self._visits_per_ms = rate / 1000 * simulation.measured.visits / simulation.measured.events
        self._elapsed = 0.0  # simulated ms since `begin`, up to which visits were started
        self._trip = 0
        self._waiting: Rows | None = None

    def plan(self, timestamps: Ints) -> Rows:
        """Return the next events, one at each of `timestamps` (ms, ascending), and the lines that faults add."""
        wanted = len(timestamps)
        while self._waiting is None or self._ready() < wanted:
            self._start_visits(wanted)
        order = pl.concat(
            [
                frame.select("ts", "key", pl.lit(step).alias("step"), pl.int_range(pl.len()).alias("row"))
                for step, (_, frame) in enumerate(self._waiting.items())
            ]
        ).sort("ts", "step", "key")[:wanted]
        order = order.with_columns(pl.Series("now", timestamps))
        happened, waiting = [], []
        for step, (_, frame) in enumerate(self._waiting.items()):
            mine = order.filter(pl.col("step") == step)
            chosen = np.zeros(len(frame), dtype=np.bool_)
            chosen[mine["row"].to_numpy()] = True
            moved = frame[mine["row"].to_numpy()].with_columns(mine["now"].alias("ts"), mine["now"].alias("arrival"))
            happened.append(moved)
            waiting.append(frame.filter(~pl.Series(chosen)))
        searches, clicks, _ = happened
        for rows in (happened, waiting):
            rows[1] = _follow(rows[1], searches)
            rows[2] = _follow(rows[2], clicks)
        self._waiting = Rows(*waiting)
        return self._with_faults(Rows(*happened), int(timestamps[-1]))

    def _ready(self) -> int:
        """Return how many events lie before the moment up to which visits were started: no earlier one can come any
        more."""
        assert self._waiting is not None
        edge = self._begin + int(self._elapsed)
        return sum(int((frame["ts"] < edge).sum()) for _, frame in self._waiting.items())

    def _start_visits(self, wanted: int) -> None:
        """Start the visits of some more trips, one each (the others of a journey are other days)."""
        simulation = self._simulation
        count = max(_TRIPS_AT_A_TIME, wanted // 2)
        index = np.arange(self._trip, self._trip + count)
        self._trip += count
        today = np.full(count, (self._begin + int(self._elapsed)) // DAY_MS, dtype=np.int64)
        purpose = f"live trip {self._begin}"
        trips = journeys.trips(simulation.draws, simulation.population, today, index, purpose)
        visits = journeys.visits(simulation.draws, simulation.population, simulation.calendar, trips)
        first = visits.filter(pl.col("number") == 1 + pl.col("visit") % pl.col("of").cast(pl.UInt64))
        spread = (
            np.arange(len(first)) + simulation.draws.uniform("live", first["visit"].to_numpy())
        ) / self._visits_per_ms
        start = self._begin + (self._elapsed + spread).astype(np.int64)
        self._elapsed += len(first) / self._visits_per_ms
        rows = simulation.funnel.rows(first.with_columns(pl.Series("start", start)))
        rows = _hastened(rows)
        self._waiting = rows if self._waiting is None else self._waiting + rows

    def _with_faults(self, rows: Rows, last: int) -> Rows:
        made = faults.add(self._simulation.draws, self._simulation.settings.faults, rows)
        within = pl.min_horizontal(pl.col("arrival"), pl.lit(last)).alias("arrival")
        # A fault follows its original at the end of what was planned.
        return Rows(*(frame.with_columns(within).sort("arrival", "fate", "ts", "key") for _, frame in made.items()))


def _hastened(rows: Rows) -> Rows:
    """Return the events with shorter times between them."""
    first = pl.col("ts").min().over("session")
    searches = rows.search.with_columns(first + (pl.col("ts") - first) // SEARCH_HASTE)
    clicks = _sooner(rows.click, searches, CLICK_HASTE)
    return Rows(searches, clicks, _sooner(rows.conversion, clicks, BOOKING_HASTE))


def _sooner(children: pl.DataFrame, parents: pl.DataFrame, haste: int) -> pl.DataFrame:
    waited = children.with_columns(((pl.col("ts") - pl.col("parent_ts")) // haste).alias("waited"))
    return _follow(waited, parents).with_columns((pl.col("parent_ts") + pl.col("waited")).alias("ts")).drop("waited")


def _follow(children: pl.DataFrame, parents: pl.DataFrame) -> pl.DataFrame:
    """Tell children when their parents really happened (an id contains its time)."""
    happened = parents.select(pl.col("key").alias("parent"), pl.col("ts").alias("really"))
    return (
        children.join(happened, on="parent", how="left", maintain_order="left")
        .with_columns(pl.coalesce("really", "parent_ts").alias("parent_ts"))
        .drop("really")
    )


def live(
    simulation: Simulation,
    rate: float,
    *,
    duration: float | None = None,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = utc_now,
    wait: Callable[[float], object] | None = None,
    on_slow: Callable[[float], None] | None = None,
) -> Iterator[Batch]:
    """Yield batches of events as they happen, `rate` a second, for `duration` seconds or until `stop` is set.

    `now` and `wait` are the clock. When the receiver holds us up, events come later but none is left out; more than
    `MAX_LAG` behind, the schedule is moved and `on_slow` is told the seconds.

    Raises:
        UsageError: the rate cannot be served.
    """
    if not 0 < rate <= MAX_RATE:
        raise UsageError(f"A rate of {rate:g} events a second cannot be served. Choose one up to {MAX_RATE:,.0f}.")
    stop = stop or threading.Event()
    pause = wait or stop.wait
    anchor = moment(milliseconds(now()))
    traffic = LiveTraffic(simulation, rate, anchor)
    stride = max(1.0, 1.0 / rate)  # seconds planned at a time
    planned = 0.0
    while not stop.is_set() and (duration is None or planned < duration):
        length = stride if duration is None else min(stride, duration - planned)
        behind = now() - (anchor + timedelta(seconds=planned))
        if behind > MAX_LAG:
            anchor += behind
            log.warning("live traffic is %.1f s behind and slows down", behind.total_seconds())
            if on_slow is not None:
                on_slow(behind.total_seconds())
        timestamps = _timestamps(anchor, planned, length, rate)
        planned += length
        if len(timestamps):
            batch = batch_of(simulation.draws, traffic.plan(timestamps), int(timestamps[-1]))
            yield from _paced(batch, stop, now, pause)


def _timestamps(anchor: datetime, planned: float, length: float, rate: float) -> Ints:
    """Return a timestamp every 1/rate seconds, without drift over many calls."""
    first, last = round(planned * rate), round((planned + length) * rate)
    return milliseconds(anchor) + np.floor(np.arange(first, last) * 1000 / rate).astype(np.int64)


def _paced(
    batch: Batch, stop: threading.Event, now: Callable[[], datetime], pause: Callable[[float], object]
) -> Iterator[Batch]:
    """Yield parts of a batch when they are due. After a stop, what has not happened yet never happens."""
    sent = batch.until - timedelta(days=1)
    while sent < batch.until:
        due = min(now(), batch.until)
        part = batch.part(sent, due)
        if len(part):
            yield part
        sent = due
        if stop.is_set():
            return
        if sent < batch.until:
            pause(min(TICK_SECONDS, (batch.until - sent).total_seconds() + 0.001))


def run_live(
    world: SimulationSettings,
    rate: float,
    publisher: Publisher,
    *,
    duration: float | None = None,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = utc_now,
    key: AnswerKey | None = None,
    on_batch: Callable[[LiveReport], None] | None = None,
) -> LiveReport:
    """Publish live traffic until `duration` is over or `stop` is set. What was begun is always sent completely."""
    report = LiveReport()
    simulation = Simulation(world)
    began = time.monotonic()

    def slower(seconds: float) -> None:
        report.seconds_slower += seconds

    with publisher:
        for batch in live(simulation, rate, duration=duration, stop=stop, now=now, on_slow=slower):
            if key is not None:  # first: no process can repeat what was sent live, so it must be known before
                key.add(batch)
            publisher.publish(batch)
            report.events += batch.valid
            report.lines += len(batch)
            report.by_type.update({name: len(frame) for name, frame in batch.frames.items()})
            report.seconds = time.monotonic() - began
            if on_batch is not None:
                on_batch(report)
    if key is not None:
        key.seal(simulation=world, live=True, events=report.events)
    return report

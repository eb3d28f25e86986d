"""The simulation: all events of a range of time, in the order they arrive, in batches of bounded size.

A batch holds what *arrives* in its part of the range, so a range can be cut anywhere: what is asked for in pieces is
exactly what would have come in one piece. Nothing depends on how far the simulation is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from generators import faults, journeys
from generators.calendar import Calendar
from generators.calibration import Traffic, measure
from generators.draws import Draws, Ints
from generators.funnel import Funnel, Rows
from generators.lines import Lines
from generators.population import BOT, Population
from generators.rendering import render
from generators.settings import DAY_MS, SimulationSettings, milliseconds, moment
from searchflow.errors import UsageError

TAIL_DAYS = 12
"""The days after which everything of a visit has arrived: 7 to decide, 3 of lateness, and the hours of the visit."""
BATCH_LINES = 40_000
SLICE_EVENTS = 40_000
"""The number of events in memory at a time, about: weeks of a quiet site, ten minutes of one with five million events
a day."""
MAX_SLICE_DAYS = 31
TRIPS_AT_A_TIME = 50_000
ORDER = ("arrival", "key", "fate")
"""The columns that sort the rows of one event type; no two rows are equal in them."""


@dataclass(frozen=True)
class Partition:
    """The travellers whose number hashes to `index` out of `of`: a share of the traffic that knows nothing of the rest.

    By hash, because one traveller in ten (by number) travels far more than the others.
    """

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise UsageError(f"There is no partition {self.index} of {self.of}. Count from 0 to {self.of - 1}.")

    def mask(self, draws: Draws, travellers: Ints) -> NDArray[np.bool_]:
        """Return which of `travellers` belong to the partition."""
        if self.of == 1:
            return np.ones(len(travellers), dtype=np.bool_)
        return np.asarray(draws.bits("partition", travellers) % np.uint64(self.of) == self.index)

    def keep(self, draws: Draws, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of `frame` whose `traveller` belongs to the partition."""
        return frame if self.of == 1 else frame.filter(self.mask(draws, frame["traveller"].to_numpy()))


WHOLE = Partition()


@dataclass(frozen=True)
class Batch:
    """Lines in the order of their arrival, by event type.

    A frame has one row for each line: event_id, event_type, timestamp, arrived_at, session_id, visitor_id, fate, line.
    """

    frames: dict[str, pl.DataFrame]
    until: datetime  # every line that arrives up to here is in this batch or an earlier one

    def lines(self, event_type: str) -> list[bytes]:
        """Return the lines of one type."""
        lines: list[bytes] = self.frames[event_type]["line"].to_list()
        return lines

    def mixed(self) -> list[bytes]:
        """Return the lines of all types, in the order of their arrival."""
        lines: list[bytes] = self._merged().to_list()
        return lines

    def text(self, event_type: str | None = None) -> Lines:
        """Return the lines of one type, or of all, as one text."""
        return Lines.of(self._merged() if event_type is None else self.frames[event_type]["line"])

    def _merged(self) -> pl.Series:
        frames = [frame.select("arrived_at", "line") for frame in self.frames.values()]
        return pl.concat(frames).sort("arrived_at", maintain_order=True)["line"]

    def part(self, after: datetime, until: datetime) -> Batch:
        """Return the part of the batch that arrives after `after` and up to `until`."""
        inside = (pl.col("arrived_at") > after) & (pl.col("arrived_at") <= until)
        return Batch({name: frame.filter(inside) for name, frame in self.frames.items()}, until)

    def __len__(self) -> int:
        return sum(len(frame) for frame in self.frames.values())

    @property
    def valid(self) -> int:
        """Return how many events must be stored."""
        return sum(int((frame["fate"] == faults.STORED).sum()) for frame in self.frames.values())


def batch_of(draws: Draws, rows: Rows, until: int) -> Batch:
    """Render `rows` (sorted by arrival), which arrive up to `until` (ms)."""
    return Batch({name: render(draws, name, frame) for name, frame in rows.items()}, moment(until))


class Simulation:
    """One simulated world. Making one takes about a third of a second (it measures itself once)."""

    def __init__(self, settings: SimulationSettings) -> None:
        settings.check()
        self.settings = settings
        self.draws = Draws(settings.seed)
        self.calendar = Calendar(settings, self.draws)
        measured = measure(settings, self.draws, self.calendar)
        self.traffic = Traffic(settings, self.draws, self.calendar, measured)
        self.population = Population(settings, self.draws, self.traffic.trips_per_day)
        self.measured = measured
        self.funnel = Funnel(settings, self.draws, self.population, self.calendar, measured.rates)

    def day(self, day: date) -> Iterator[Batch]:
        """Yield what arrives on one day (UTC)."""
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        step = timedelta(milliseconds=1)
        return self.batches(after=first - step, until=first + timedelta(days=1) - step)

    def batches(
        self,
        *,
        until: datetime,
        after: datetime | None = None,
        lines: int = BATCH_LINES,
        partition: Partition = WHOLE,
    ) -> Iterator[Batch]:
        """Yield what arrives after `after` (None: from the start of history) and up to `until`, about `lines` at a
        time.

        With `partition` only what its travellers send. All partitions together, sorted by `ORDER`, are the whole.
        """
        for _, rows in self.windows(until=until, after=after, partition=partition):
            yield from self.cut(rows, lines)

    def windows(
        self, *, until: datetime, after: datetime | None = None, partition: Partition = WHOLE
    ) -> Iterator[tuple[datetime, Rows]]:
        """Yield (moment, rows that arrive up to it), window after window; the moments of all partitions agree."""
        settings = self.settings
        begin = max(milliseconds(after) + 1 if after else settings.start_ms, settings.start_ms)
        end = milliseconds(until) + 1  # exclusive from here on
        if end <= begin:
            return
        first = max(begin // DAY_MS - TAIL_DAYS, settings.start_day)
        waiting: Rows | None = None
        for visits, stop in self._slices(first, end, partition):
            rows = faults.add(self.draws, settings.faults, self.funnel.rows(visits))
            waiting = rows if waiting is None else waiting + rows
            edge = min(stop, end)
            if edge > begin:
                yield moment(edge - 1), waiting.where(pl.col("arrival").is_between(begin, edge - 1))
            waiting = waiting.where(pl.col("arrival") >= max(edge, begin))

    def visits(self, first: int, last: int) -> Iterator[pl.DataFrame]:
        """Yield visits that start on the UTC days first .. last-1 (days since 1970), in parts."""
        for visits, _ in self._slices(max(first, self.settings.start_day), last * DAY_MS, WHOLE):
            yield visits.filter(pl.col("start") < last * DAY_MS)

    def brought(self, visits: pl.DataFrame) -> pl.DataFrame:
        """Return the day and the campaign of each visit (bots come by themselves)."""
        return visits.filter(pl.col("traveller") < BOT).select(
            (pl.col("start") // DAY_MS).alias("day"), pl.col("campaign")
        )

    def _slices(self, first: int, end: int, partition: Partition) -> Iterator[tuple[pl.DataFrame, int]]:
        """Yield (visits that start before a moment, the moment in ms), from day `first` on until `end` (ms, exclusive).

        A slice holds about `SLICE_EVENTS` events: many days of a quiet site, or minutes of a busy one.
        """
        a_day = self.settings.events_per_day / partition.of  # equal for all partitions: their windows agree
        days = int(np.clip(SLICE_EVENTS // a_day, 1, MAX_SLICE_DAYS))
        parts = int(np.ceil(a_day / SLICE_EVENTS))
        for visits, start, stop in self._visits_by_block(first, (end - 1) // DAY_MS + 1, days, partition):
            if parts == 1:
                yield self._wide(visits, start), stop * DAY_MS
                continue
            edges = np.linspace(start * DAY_MS, stop * DAY_MS, parts + 1).astype(np.int64)[1:]
            visits = visits.sort("start", maintain_order=True)
            places = np.searchsorted(visits["start"].to_numpy(), edges - start * DAY_MS)
            for edge, low, high in zip(edges.tolist(), [0, *places[:-1].tolist()], places.tolist(), strict=True):
                yield self._wide(visits[low:high], start), edge
                if edge >= end:
                    return

    def _visits_by_block(
        self, first: int, last: int, step: int, partition: Partition
    ) -> Iterator[tuple[pl.DataFrame, int, int]]:
        """Yield (compact visits that start in a block of days, its first day, the day after it), block after block."""
        # A local day may begin on the UTC day before it and end on the day after it.
        pending = _Pending(first, step)
        for day in range(first - journeys.JOURNEY_DAYS - 1, first + 1, step):
            pending.add(self._planned(day, min(day + step, first + 1), partition))
        for start in range(first, last, step):
            stop = min(start + step, last)
            pending.add(self._planned(start + 1, stop + 1, partition))
            bots = journeys.bot_visits(self.draws, *_numbered(np.arange(start, stop), self.traffic.bots))
            pending.add([partition.keep(self.draws, bots)])
            yield pending.take(start), start, stop

    def _planned(self, first: int, stop: int, partition: Partition) -> Iterator[pl.DataFrame]:
        """Yield all visits of the partition's trips that begin on local days first .. stop-1, some trips at a time."""
        days, index = _numbered(np.arange(first, stop), self.traffic.trips)
        for low in range(0, len(days), TRIPS_AT_A_TIME):
            here = slice(low, low + TRIPS_AT_A_TIME)
            trips = journeys.trips(self.draws, self.population, days[here], index[here], keep=partition.mask)
            yield journeys.visits(self.draws, self.population, self.calendar, trips)

    def _wide(self, visits: pl.DataFrame, start: int) -> pl.DataFrame:
        """Undo `_Pending`'s compaction for visits of the block that begins on day `start`.

        Small numbers grow (arithmetic on them would overflow), and the key of each visit is made again.
        """
        wide = visits.cast({selectors.signed_integer(): pl.Int64, selectors.unsigned_integer(): pl.UInt64})
        trip, number, traveller = (wide[name].to_numpy() for name in ("trip", "number", "traveller"))
        key = np.where(traveller >= BOT, trip, journeys.visit_keys(self.draws, trip, number - 1))
        return wide.with_columns(pl.col("start") + start * DAY_MS, pl.Series("visit", key))

    def cut(self, rows: Rows, lines: int = BATCH_LINES) -> Iterator[Batch]:
        """Yield `rows` in batches, sorted by arrival."""
        if not len(rows):
            return
        frames = [frame.sort(ORDER) for _, frame in rows.items()]
        arrivals = [frame["arrival"].to_numpy() for frame in frames]
        everything = np.sort(np.concatenate(arrivals))
        edges = [*np.unique(everything[lines::lines]).tolist(), int(everything[-1]) + 1]
        places = [np.searchsorted(column, [0, *edges]).tolist() for column in arrivals]
        for number, edge in enumerate(edges):
            part = Rows(
                *(
                    frame[place[number] : place[number + 1]].rechunk()
                    for frame, place in zip(frames, places, strict=True)
                )
            )
            if len(part):
                yield batch_of(self.draws, part, edge - 1)


class _Pending:
    """Visits that were planned and have not started yet, by the block of days in which they start.

    A busy site has millions of them, so they are compact: whole numbers in as few bytes as they need, starts counted
    from the block's begin, and without the visit's key, which follows from the trip and the visit's number.
    """

    def __init__(self, first: int, step: int) -> None:
        self._first, self._step = first, step
        self._blocks: defaultdict[int, list[pl.DataFrame]] = defaultdict(list)
        self._empty_block: list[pl.DataFrame] = []  # the columns of a block in which nothing starts

    def add(self, planned: Iterable[pl.DataFrame]) -> None:
        """Keep visits; those of days before the first are over."""
        for visits in planned:
            block = (pl.col("start") // DAY_MS - self._first) // self._step
            begin = (block * self._step + self._first) * DAY_MS
            placed = visits.drop("visit").with_columns(block.alias("block"), pl.col("start") - begin)
            small = placed.select(
                column.shrink_dtype() if column.dtype.is_integer() and column.name != "block" else column
                for column in placed
            )
            self._empty_block = self._empty_block or [small.drop("block").clear()]
            for (number,), part in small.partition_by("block", as_dict=True, include_key=False).items():
                if number >= 0:
                    self._blocks[number].append(part)

    def take(self, start: int) -> pl.DataFrame:
        """Return what starts in the block that begins on day `start`."""
        mine = self._blocks.pop((start - self._first) // self._step, [])
        return pl.concat([*self._empty_block, *mine], how="vertical_relaxed", rechunk=True)


def _numbered(days: Ints, counts_of: Callable[[Ints], Ints]) -> tuple[Ints, Ints]:
    """Return each day as often as its count says, with a running number within the day."""
    counts = counts_of(days)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(days, counts), index

"""The simulation: all events of a range of time, in the order they arrive, in batches of bounded size.

A batch holds what *arrives* in its part of the range, so a range can be cut anywhere: what is asked for in pieces is
exactly what would have come in one piece. Nothing depends on how far the simulation is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from generators import campaigns, faults, journeys
from generators.calendar import Calendar
from generators.calibration import Traffic, measure
from generators.draws import Draws, Ints
from generators.funnel import Funnel, Rows
from generators.population import BOT, Population
from generators.rendering import render
from generators.settings import DAY_MS, SimulationSettings, milliseconds, moment

TAIL_DAYS = 12
"""Everything of a visit has arrived this many days later: 7 to decide, 3 of lateness, and the hours of the visit."""
BATCH_LINES = 50_000
_BLOCK_EVENTS = 60_000
_BLOCK_DAYS = 31


@dataclass(frozen=True)
class Batch:
    """Lines in the order of their arrival, by event type.

    A frame has one row a line: event_id, event_type, timestamp, arrived_at, session_id, visitor_id, fate, line.
    """

    frames: dict[str, pl.DataFrame]
    until: datetime  # every line that arrives up to here is in this batch or an earlier one

    def lines(self, event_type: str) -> list[bytes]:
        """The lines of one type."""
        lines: list[bytes] = self.frames[event_type]["line"].to_list()
        return lines

    def mixed(self) -> list[bytes]:
        """The lines of all types, in the order of their arrival."""
        frames = [frame.select("arrived_at", "line") for frame in self.frames.values()]
        lines: list[bytes] = pl.concat(frames).sort("arrived_at", maintain_order=True)["line"].to_list()
        return lines

    def part(self, after: datetime, until: datetime) -> Batch:
        """What of it arrives after `after` and up to `until`."""
        inside = (pl.col("arrived_at") > after) & (pl.col("arrived_at") <= until)
        return Batch({name: frame.filter(inside) for name, frame in self.frames.items()}, until)

    def __len__(self) -> int:
        return sum(len(frame) for frame in self.frames.values())

    @property
    def valid(self) -> int:
        """Events that must be stored."""
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
        self.funnel = Funnel(settings, self.draws, self.population, measured.rates)

    def day(self, day: date) -> Iterator[Batch]:
        """What arrives on one day (UTC)."""
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        step = timedelta(milliseconds=1)
        return self.batches(after=first - step, until=first + timedelta(days=1) - step)

    def batches(self, *, until: datetime, after: datetime | None = None, lines: int = BATCH_LINES) -> Iterator[Batch]:
        """What arrives after `after` (None: from the start of history) and up to `until`, about `lines` at a time."""
        settings = self.settings
        begin = max(milliseconds(after) + 1 if after else settings.start_ms, settings.start_ms)
        end = milliseconds(until) + 1  # exclusive from here on
        if end <= begin:
            return
        last = (end - 1) // DAY_MS + 1
        step = int(np.clip(_BLOCK_EVENTS // settings.events_per_day, 1, _BLOCK_DAYS))
        waiting: Rows | None = None
        first = max(begin // DAY_MS - TAIL_DAYS, settings.start_day)
        for visits, stop in self._visits_by_block(first, last, step):
            rows = faults.add(self.draws, settings.faults, self.funnel.rows(visits))
            waiting = rows if waiting is None else waiting + rows
            edge = min(stop * DAY_MS, end)
            yield from self._cut(waiting.where(pl.col("arrival").is_between(begin, edge - 1)), lines, edge - 1)
            waiting = waiting.where(pl.col("arrival") >= max(edge, begin))

    def visits(self, first: int, last: int) -> Iterator[pl.DataFrame]:
        """Visits that start on the UTC days first .. last-1 (days since 1970), in blocks."""
        step = int(np.clip(4 * _BLOCK_EVENTS // self.settings.events_per_day, 1, 10 * _BLOCK_DAYS))
        for visits, _ in self._visits_by_block(max(first, self.settings.start_day), last, step):
            yield visits

    def brought(self, visits: pl.DataFrame) -> pl.DataFrame:
        """The day and the campaign of each visit (bots come by themselves)."""
        people = visits.filter(pl.col("traveller") < BOT)
        days = people["start"].to_numpy() // DAY_MS
        chosen = campaigns.choose(self.draws, people["visit"].to_numpy(), days, people["number"].to_numpy() == 1)
        return pl.DataFrame({"day": days, "campaign": chosen})

    def _visits_by_block(self, first: int, last: int, step: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """(visits that start in a block of days, the day after the block), block after block."""
        # A local day may begin on the UTC day before it and end on the day after it.
        before = range(first - journeys.JOURNEY_DAYS - 1, first + 1, step)
        still_to_come = pl.col("start") >= first * DAY_MS
        waiting = pl.concat([self._planned(day, min(day + step, first + 1)).filter(still_to_come) for day in before])
        for start in range(first, last, step):
            stop = min(start + step, last)
            planned = pl.concat([waiting, self._planned(start + 1, stop + 1)], rechunk=True)
            inside = planned.filter(pl.col("start").is_between(start * DAY_MS, stop * DAY_MS - 1))
            waiting = planned.filter(pl.col("start") >= stop * DAY_MS)
            bots = _numbered(np.arange(start, stop), self.traffic.bots)
            yield pl.concat([inside, journeys.bot_visits(self.draws, *bots)], rechunk=True), stop

    def _planned(self, first: int, stop: int) -> pl.DataFrame:
        """All visits of the trips that begin on local days first .. stop-1."""
        days, index = _numbered(np.arange(first, stop), self.traffic.trips)
        trips = journeys.trips(self.draws, self.population, days, index)
        return journeys.visits(self.draws, self.population, self.calendar, trips)

    def _cut(self, rows: Rows, lines: int, end: int) -> Iterator[Batch]:
        """`rows` in batches, sorted by arrival."""
        if not len(rows):
            return
        frames = [frame.sort("arrival", "key", "fate") for _, frame in rows.items()]
        arrivals = [frame["arrival"].to_numpy() for frame in frames]
        edges = [*np.unique(np.sort(np.concatenate(arrivals))[lines::lines]).tolist(), end + 1]
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


def _numbered(days: Ints, counts_of: Callable[[Ints], Ints]) -> tuple[Ints, Ints]:
    """Each day as often as its count says, with a running number within the day."""
    counts = counts_of(days)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(days, counts), index

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from generators import Batch, JsonlPublisher, Simulation, faults, live, run_live
from searchflow import events
from searchflow.errors import UsageError

BEGIN = datetime(2026, 6, 16, 9, 0, 0, tzinfo=UTC)


class Clock:
    """A clock that moves when a process waits, and a little when it looks."""

    def __init__(self, begin: datetime = BEGIN) -> None:
        self.at = begin

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def collect(simulation: Simulation, rate: float, duration: float, begin: datetime = BEGIN) -> dict[str, pl.DataFrame]:
    clock, found = Clock(begin), []
    for batch in live(simulation, rate, duration=duration, now=clock.now, wait=clock.wait):
        assert all((frame["timestamp"] <= clock.at).all() for frame in batch.frames.values())
        found.append(batch)
    return {name: pl.concat([batch.frames[name] for batch in found]) for name in ("search", "click", "conversion")}


@pytest.mark.parametrize(("rate", "duration"), [(10, 120), (2_500, 10), (0.5, 60)])
def test_live_events_come_at_the_rate_with_current_times(small: Simulation, rate: float, duration: float) -> None:
    frames = collect(small, rate, duration)
    valid = pl.concat(list(frames.values()), how="diagonal").filter(pl.col("fate") == faults.STORED)
    assert len(valid) == rate * duration
    assert valid["timestamp"].min() >= BEGIN  # type: ignore[operator]
    assert valid["timestamp"].max() <= BEGIN + timedelta(seconds=duration)  # type: ignore[operator]
    per_second = valid.group_by((pl.col("timestamp") - valid["timestamp"].min()).dt.total_seconds()).len()["len"]
    assert per_second.max() - per_second.min() <= 1  # type: ignore[operator]


def test_live_clicks_and_bookings_belong_to_searches_made_live(small: Simulation) -> None:
    frames = collect(small, 50, 150)
    documents = {}
    for name, frame in frames.items():
        valid = frame.filter(pl.col("fate") == faults.STORED)
        _, decoded, rejected = events.decode(valid["line"].to_list())
        assert rejected == {}
        documents[name] = {one.event_id: msgspec.structs.asdict(one) for one in decoded}
        assert len(documents[name]) == len(valid)
    assert len(documents["click"]) > 0.15 * len(documents["search"])
    assert len(documents["conversion"]) > 10
    for click in documents["click"].values():
        assert documents["search"][click["search_event_id"]]["timestamp"] <= click["timestamp"]
    for booking in documents["conversion"].values():
        assert documents["click"][booking["click_event_id"]]["timestamp"] <= booking["timestamp"]


def test_two_live_runs_share_no_event(small: Simulation) -> None:
    one = collect(small, 20, 5)["search"]["event_id"]
    other = collect(small, 20, 5, BEGIN + timedelta(seconds=1))["search"]["event_id"]
    assert not set(one) & set(other)


def test_a_slow_receiver_slows_it_down_and_loses_nothing(small: Simulation) -> None:
    told: list[float] = []
    clock, total = Clock(), 0
    for batch in live(small, 100, duration=20, now=clock.now, wait=clock.wait, on_slow=told.append):
        clock.wait(2.0)
        total += batch.valid
        oldest = min(frame["timestamp"].min() for frame in batch.frames.values() if len(frame))  # type: ignore[type-var]
        assert clock.at - oldest < timedelta(seconds=12)  # type: ignore[operator]
    assert total == 2_000
    assert sum(told) > 5


def test_a_stop_ends_it_at_once_and_all_that_was_counted_was_sent(small: Simulation, tmp_path: Path) -> None:
    stop = threading.Event()

    class StopsSoon(JsonlPublisher):
        def publish(self, batch: Batch) -> int:
            stop.set()
            return super().publish(batch)

    report = run_live(small.settings, 40, StopsSoon(tmp_path, "live", growing=True), duration=60, stop=stop)
    assert 0 < report.events < 400  # of 2,400
    assert (tmp_path / "live.jsonl").read_bytes().count(b"\n") == report.lines


def test_an_impossible_rate_is_refused(small: Simulation) -> None:
    for rate in (0, -1, 1e9):
        with pytest.raises(UsageError, match="Choose one up to"):
            next(live(small, rate))

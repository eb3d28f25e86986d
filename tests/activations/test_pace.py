"""A rate is kept, by rows and by batches, and a pause is not made up for."""

from __future__ import annotations

from activations.declaration import Rate
from activations.pace import SyncPace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def paced(rate: Rate | None) -> tuple[SyncPace, Clock]:
    clock = Clock()
    return SyncPace(rate, clock.sleep, lambda: clock.now), clock


def test_without_a_rate_nothing_waits() -> None:
    pace, clock = paced(None)
    pace.wait(1_000_000)
    assert clock.slept == []


def test_the_first_batch_leaves_at_once_and_the_next_when_its_rows_are_due() -> None:
    pace, clock = paced(Rate(rows=100))
    for rows in (50, 100, 100):
        pace.wait(rows)
    assert clock.slept == [0.5, 1.0]


def test_the_stricter_of_rows_and_batches_counts() -> None:
    pace, clock = paced(Rate(rows=100, batches=6, per="minute"))
    pace.wait(5)  # 3 s by rows, 10 s as a batch
    pace.wait(5)
    assert clock.slept == [10.0]


def test_a_pause_gives_no_right_to_a_burst() -> None:
    pace, clock = paced(Rate(batches=1))
    pace.wait(1)
    clock.now += 60
    pace.wait(1)
    pace.wait(1)
    assert clock.slept == [1.0]

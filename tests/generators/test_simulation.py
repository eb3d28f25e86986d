from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators import Batch, FaultSettings, FunnelSettings, Simulation, SimulationSettings
from generators.settings import NewField
from searchflow.errors import UsageError

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
TYPES = ("search", "click", "conversion")


def lines(batches: Iterable[Batch]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {name: [] for name in TYPES}
    for batch in batches:
        for name in TYPES:
            found[name] += batch.lines(name)
    return found


@pytest.fixture(scope="module")
def whole(small: Simulation) -> dict[str, list[bytes]]:
    return lines(small.batches(until=NOW))


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(
    small: Simulation, whole: dict[str, list[bytes]]
) -> None:
    again = Simulation(SimulationSettings.for_history(until=NOW, days=12, events=2_000, seed=7))
    other = Simulation(SimulationSettings.for_history(until=NOW, days=12, events=2_000, seed=8))
    assert lines(again.batches(until=NOW)) == whole
    assert not set(lines(other.batches(until=NOW))["search"]) & set(whole["search"])


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 12 * 86_400_000), min_size=1, max_size=4), size=st.sampled_from([150, 50_000]))
def test_a_range_in_pieces_is_the_range_as_a_whole(
    small: Simulation, whole: dict[str, list[bytes]], cuts: list[int], size: int
) -> None:
    start = datetime(2026, 6, 3, tzinfo=UTC)
    pieces: dict[str, list[bytes]] = {name: [] for name in TYPES}
    after = None
    for until in [*(min(start + timedelta(milliseconds=cut), NOW) for cut in sorted(cuts)), NOW]:
        for name, part in lines(small.batches(after=after, until=until, lines=size)).items():
            pieces[name] += part
        after = until
    assert pieces == whole


def test_a_day_alone_is_that_day_of_the_year(year: Simulation, year_batches: list[Batch]) -> None:
    for day in (date(2025, 5, 11), date(2026, 1, 1), date(2026, 6, 14)):
        alone = lines(year.day(day))
        for name in TYPES:
            of_year = pl.concat([batch.frames[name] for batch in year_batches])
            expected = of_year.filter(pl.col("arrived_at").dt.date() == day)["line"].to_list()
            assert alone[name] == expected


def test_asking_for_more_changes_nothing_before(small: Simulation, whole: dict[str, list[bytes]]) -> None:
    longer = lines(small.batches(until=NOW + timedelta(days=40)))
    for name in TYPES:
        assert longer[name][: len(whole[name])] == whole[name]
        assert len(longer[name]) > len(whole[name])


def test_nothing_happens_before_the_start_or_after_the_end(year_batches: list[Batch]) -> None:
    for batch in year_batches:
        for frame in batch.frames.values():
            assert frame.filter((pl.col("timestamp") > pl.col("arrived_at")) | (pl.col("arrived_at") > NOW)).is_empty()
            assert frame.filter(pl.col("timestamp") < datetime(2025, 5, 11, tzinfo=UTC)).is_empty()


def test_batches_are_bounded_and_in_the_order_of_arrival(year: Simulation) -> None:
    seen = datetime(2000, 1, 1, tzinfo=UTC)
    for batch in year.batches(until=datetime(2025, 8, 1, tzinfo=UTC), lines=5_000):
        assert len(batch) <= 5_100
        arrivals = pl.concat([frame["arrived_at"] for frame in batch.frames.values()])
        assert arrivals.min() > seen  # type: ignore[operator]
        assert arrivals.max() <= batch.until  # type: ignore[operator]
        assert all(frame["arrived_at"].is_sorted() for frame in batch.frames.values())
        assert len(batch.mixed()) == len(batch)
        seen = batch.until


def test_the_history_has_the_wanted_number_of_valid_events(year_batches: list[Batch]) -> None:
    assert sum(batch.valid for batch in year_batches) == pytest.approx(250_000, rel=0.01)


@pytest.mark.parametrize(("days", "events"), [(90, 90_000), (1, 100_000), (730, 90_000)])
def test_other_lengths_too(days: int, events: int) -> None:
    simulation = Simulation(SimulationSettings.for_history(until=NOW, days=days, events=events, seed=3))
    assert sum(batch.valid for batch in simulation.batches(until=NOW)) == pytest.approx(events, rel=0.03)


def test_a_perfect_world_has_only_valid_events_in_order() -> None:
    world = SimulationSettings.for_history(until=NOW, days=5, events=3_000, faults=FaultSettings.none())
    for batch in Simulation(world).batches(until=NOW):
        assert batch.valid == len(batch)
        assert all((frame["timestamp"] == frame["arrived_at"]).all() for frame in batch.frames.values())


def test_an_empty_range_gives_nothing(small: Simulation) -> None:
    assert list(small.batches(after=NOW, until=NOW)) == []
    assert list(small.batches(until=datetime(2020, 1, 1, tzinfo=UTC))) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "at least one day"),
        ({"events": 0}, "at least one day and one event"),
        ({"events": 10**10, "days": 2}, "fewer events or more days"),
        ({"until": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"faults": FaultSettings(duplicates=2)}, "Choose a share"),
        ({"funnel": FunnelSettings(position_exponent=float("nan"))}, "between 0 and 5"),
        ({"faults": FaultSettings(new_fields=(NewField(name="query", since=date(2026, 6, 1)),))}, "events do not have"),
    ],
)
def test_nonsense_is_refused_with_what_to_do(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SimulationSettings.for_history(**{"until": NOW, **arguments})  # type: ignore[arg-type]

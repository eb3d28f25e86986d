"""Any split of the work gives the same events: by travellers, by ranges of time, and by both at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators import Batch, FaultSettings, FunnelSettings, Simulation, SimulationSettings
from generators.simulation import Partition
from searchflow.errors import UsageError

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
START = datetime(2026, 6, 3, tzinfo=UTC)
TYPES = ("search", "click", "conversion")
Lines = dict[str, list[bytes]]


def lines(batches: Iterable[Batch]) -> Lines:
    found: Lines = {name: [] for name in TYPES}
    for batch in batches:
        for name in TYPES:
            found[name] += batch.lines(name)
    return found


@pytest.fixture(scope="module")
def whole(small: Simulation) -> Lines:
    return lines(small.batches(until=NOW))


def in_the_order_of(whole: list[bytes], parts: list[list[bytes]]) -> list[bytes]:
    """`parts` merged: each must be in the order of the whole already."""
    merged, remaining = [], [iter(part) for part in parts]
    heads = [next(one, None) for one in remaining]
    for line in whole:
        place = heads.index(line)
        merged.append(line)
        heads[place] = next(remaining[place], None)
    assert heads == [None] * len(parts)
    return merged


moments = st.integers(0, 12 * 86_400_000).map(lambda ms: min(START + timedelta(milliseconds=ms), NOW))


@settings(max_examples=10, deadline=None)
@given(of=st.integers(2, 7), cuts=st.lists(moments, max_size=2), size=st.sampled_from([40, 700, 50_000]))
def test_partitions_of_travellers_in_ranges_of_time_are_the_whole(
    small: Simulation, whole: Lines, of: int, cuts: list[datetime], size: int
) -> None:
    parts = []
    for index in range(of):
        after, part = None, {name: [] for name in TYPES}
        for until in [*sorted(cuts), NOW]:
            for batch in small.batches(after=after, until=until, lines=size, partition=Partition(index, of)):
                for name in TYPES:
                    part[name] += batch.lines(name)
            after = until
        parts.append(part)
    for name in TYPES:
        assert in_the_order_of(whole[name], [part[name] for part in parts]) == whole[name]


@settings(max_examples=10, deadline=None)
@given(of=st.integers(1, 5), begin=moments, end=moments, index=st.integers(0, 4))
def test_any_range_of_any_partition_is_that_part_of_it(
    small: Simulation, of: int, begin: datetime, end: datetime, index: int
) -> None:
    mine = Partition(index % of, of)
    everything = list(small.batches(until=NOW, partition=mine))
    found = lines(small.batches(after=begin, until=end, partition=mine))
    for name in TYPES:
        frame = pl.concat([batch.frames[name] for batch in everything])
        inside = (pl.col("arrived_at") > begin) & (pl.col("arrived_at") <= end)
        assert found[name] == frame.filter(inside)["line"].to_list()


shares = st.floats(0, 0.2)
worlds = st.builds(
    SimulationSettings.for_history,
    until=st.just(NOW),
    days=st.integers(1, 25),
    events=st.integers(20, 600),
    seed=st.integers(0, 2**31),
    funnel=st.builds(
        FunnelSettings, click_rate=st.floats(0.2, 0.6), conversion_rate=shares, zero_result_rate=shares, books_again=shares
    ),
    faults=st.builds(
        FaultSettings, duplicates=shares, late=shares, out_of_order=shares, clock_skew=shares, clicking_bots=st.floats(0, 0.08),
        missing_field=shares, conflicting_duplicate=shares,
    ),
)  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(world=worlds, of=st.integers(2, 4), at=st.floats(0.05, 0.95))
def test_every_world_is_the_same_again_and_the_same_in_parts(world: SimulationSettings, of: int, at: float) -> None:
    whole = lines(Simulation(world).batches(until=NOW))
    again = Simulation(world)
    assert lines(again.batches(until=NOW)) == whole
    middle = NOW - (NOW - datetime(world.start.year, world.start.month, world.start.day, tzinfo=UTC)) * at
    parts = []
    for index in range(of):
        first, second = (
            lines(again.batches(after=after, until=until, partition=Partition(index, of)))
            for after, until in ((None, middle), (middle, NOW))
        )
        parts.append({name: first[name] + second[name] for name in TYPES})
    for name in TYPES:
        assert in_the_order_of(whole[name], [part[name] for part in parts]) == whole[name]


def test_a_busy_day_is_cut_within_the_day_and_stays_the_same() -> None:
    busy = Simulation(SimulationSettings.for_history(until=NOW, days=1, events=150_000, seed=3))
    after = NOW - timedelta(hours=2)
    whole, parts = lines(busy.batches(after=after, until=NOW)), []
    for index in range(3):
        parts.append(lines(busy.batches(after=after, until=NOW, partition=Partition(index, 3), lines=999)))
    assert len(whole["search"]) > 2_000
    for name in TYPES:
        assert in_the_order_of(whole[name], [part[name] for part in parts]) == whole[name]


def test_a_traveller_has_one_partition_and_each_gets_its_share(year: Simulation) -> None:
    until = datetime(2025, 7, 1, tzinfo=UTC)
    seen: list[set[str]] = []
    counts = []
    for index in range(4):
        batches = list(year.batches(until=until, partition=Partition(index, 4)))
        seen.append({who for batch in batches for frame in batch.frames.values() for who in frame["visitor_id"]})
        counts.append(sum(map(len, batches)))
    assert all(not one & other for number, one in enumerate(seen) for other in seen[:number])
    assert max(counts) < 1.3 * min(counts)


def test_a_partition_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no partition 3 of 3"):
        Partition(3, 3)

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import polars as pl
import pytest

from generators import Batch, FaultSettings, Simulation, SimulationSettings, faults
from generators.faults import REASONS
from searchflow import events

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
LATER_CHECKS = {"timestamp_in_future", "timestamp_too_old", "conflicting_duplicate"}  # need the clock or other events


def test_every_valid_event_follows_the_contract(year_batches: list[Batch]) -> None:
    for batch in year_batches[::2]:
        for event_type, frame in batch.frames.items():
            valid = frame.filter(pl.col("fate") == faults.STORED)
            good, decoded, rejected = events.decode(valid["line"].to_list())
            assert rejected == {}
            assert len(good) == len(valid)
            assert [one.event_id for one in decoded] == valid["event_id"].to_list()
            assert [one.session_id for one in decoded] == valid["session_id"].to_list()
            assert [one.timestamp for one in decoded] == valid["timestamp"].to_list()
            assert all(events.event_type_of(one) == event_type for one in decoded)


def test_values_are_those_of_the_contract(year_batches: list[Batch]) -> None:
    valid = year_batches[0].frames["search"].filter(pl.col("fate") == faults.STORED)
    for line in valid["line"].head(3_000):
        document = msgspec.json.decode(line)
        assert UUID(document["event_id"]).version == 7
        assert document["platform"] in {"web", "ios", "android"}
        assert document["device_type"] in {"desktop", "mobile", "tablet"}
        assert len(document["geo"]["country"]) == 2
        dates = document["filters"].get("dates")
        if dates is not None:
            assert document["timestamp"][:10] <= dates[0] < dates[1]
        low, high = document["filters"].get("price_min"), document["filters"].get("price_max")
        assert low is None or low < high
        assert (document["utm_source"] is None) == (document["utm_medium"] is None)


@pytest.fixture(scope="module")
def faulty() -> list[Batch]:
    world = SimulationSettings.for_history(
        until=NOW,
        days=10,
        events=12_000,
        faults=FaultSettings(duplicates=0.05, late=0.1, out_of_order=0.3, **dict.fromkeys(REASONS, 0.005)),
    )
    return list(Simulation(world).batches(until=NOW))


def test_malformed_lines_are_rejected_for_the_declared_reason(faulty: list[Batch]) -> None:
    seen: Counter[str] = Counter()
    for batch in faulty:
        for frame in batch.frames.values():
            for code, line in frame.filter(pl.col("fate") >= faults.FIRST_MALFORMED).select("fate", "line").iter_rows():
                expected = faults.reason_code(code)
                assert expected is not None
                _, _, rejected = events.decode([line])
                assert {0: expected} == {k: v.code for k, v in rejected.items()} or expected in LATER_CHECKS
                assert not rejected or expected not in LATER_CHECKS
                seen[expected] += 1
    assert set(seen) == set(events.REASON_CODES) - {"erased_user"}


def test_duplicates_are_exact_and_come_after_their_original(faulty: list[Batch]) -> None:
    for event_type in ("search", "click", "conversion"):
        sent = pl.concat([batch.frames[event_type] for batch in faulty]).with_row_index("place")
        first = sent.filter(pl.col("fate") == faults.STORED)
        again = sent.filter(pl.col("fate") == faults.DUPLICATE).join(first, on="event_id", how="left")
        assert len(again)
        assert (again["line"] == again["line_right"]).all()
        assert (again["place"] > again["place_right"]).all()
        conflicting = faults.FIRST_MALFORMED + len(faults.MALFORMED) - 1
        assert faults.reason_code(conflicting) == "conflicting_duplicate"
        conflicts = sent.filter(pl.col("fate") == conflicting).join(first, on="event_id", how="left")
        assert (conflicts["place"] > conflicts["place_right"]).all()
        assert (conflicts["line"] != conflicts["line_right"]).all()


def test_ids_are_unique_over_valid_events_and_malformed_ones(faulty: list[Batch]) -> None:
    for event_type in ("search", "click", "conversion"):
        sent = pl.concat([batch.frames[event_type] for batch in faulty])
        own = sent.filter((pl.col("fate") != faults.DUPLICATE) & (pl.col("fate") < faults.FIRST_MALFORMED + 11))
        assert own["event_id"].is_unique().all()


def test_lateness_and_disorder_are_as_declared(faulty: list[Batch]) -> None:
    valid = pl.concat([frame for batch in faulty for frame in batch.frames.values()], how="diagonal").filter(
        pl.col("fate") == 0
    )
    delay = (valid["arrived_at"] - valid["timestamp"]).dt.total_milliseconds() / 60_000
    assert (delay >= 0).all()
    assert delay.max() <= 72 * 60 + 1  # type: ignore[operator]
    assert ((delay > 0) & (delay <= 1)).mean() == pytest.approx(0.27, abs=0.03)
    assert (delay > 5).mean() == pytest.approx(0.1, abs=0.03)

"""The simulator and ingestion agree: what the answer key says of each line is what happened to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from generators import (
    FaultSettings,
    Range,
    RedisPublisher,
    RunReport,
    SimulationSettings,
    load_state,
    next_range,
    publish_range,
)
from generators.faults import REASONS
from searchflow import streams, warehouse
from searchflow.ingestion import feeds, worker
from searchflow.ingestion.commit import Counts
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
FAULTS = FaultSettings(duplicates=0.03, late=0.05, out_of_order=0.1, **dict.fromkeys(REASONS, 0.004))


def send_and_ingest(settings: Settings, wanted: Range) -> tuple[RunReport, Counts]:
    report = publish_range(settings, wanted, RedisPublisher(streams.connect(settings)), quiet=True)
    found = Counts()
    for event_type in streams.EVENT_TYPES:
        found.add(worker.ingest_stream(settings, event_type, clock=lambda: wanted.until).counts)
    return report, found


def test_ingestion_finds_what_the_answer_key_says(fresh_platform: Settings) -> None:
    world = SimulationSettings.for_history(until=NOW, days=5, events=4_000, seed=11, faults=FAULTS)
    first, found = send_and_ingest(fresh_platform, Range(world, None, NOW))
    assert (found.received, found.stored) == (first.lines, first.events)
    assert (found.duplicates, found.dead_letters) == (first.duplicates, first.dead_letters)
    assert first.dead_letters > 100

    assert len(first.feeds) == 2
    rows = feeds.ingest_feeds(fresh_platform, fresh_platform.feeds_dir, now=NOW)
    assert rows.stored == rows.received > 100

    # Killed before the state was written: all of it comes again and nothing is stored twice.
    _, again = send_and_ingest(fresh_platform, Range(world, None, NOW))
    assert (again.received, again.stored) == (first.lines, 0)
    assert again.duplicates == first.events + first.duplicates

    second, new = send_and_ingest(fresh_platform, next_range(load_state(fresh_platform), NOW + timedelta(days=2)))
    assert (new.received, new.stored) == (second.lines, second.events)
    assert second.events > 500

    key = _answers(fresh_platform.answer_key_dir)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        for event_type in streams.EVENT_TYPES:
            stored = connection.execute(f"SELECT event_id FROM raw.{event_type}_events").pl()["event_id"]
            expected = key.filter(pl.col("event_type") == event_type, pl.col("fate") == "stored")["event_id"]
            assert set(stored) == set(expected)
            assert len(stored) == len(expected)
        reasons = connection.execute(
            "SELECT reason_code, count(DISTINCT raw_payload) FROM raw.dead_letters GROUP BY ALL"
        ).fetchall()
    wrong = first.dead_letters_by_reason + second.dead_letters_by_reason
    assert dict(reasons) == dict(wrong)


def _answers(folder: Path) -> pl.DataFrame:
    names = ["event_id", "event_type", "fate"]
    files = [pl.read_parquet(path).select(pl.col(names).cast(pl.String)) for path in folder.glob("*/lines_*.parquet")]
    return pl.concat(files)

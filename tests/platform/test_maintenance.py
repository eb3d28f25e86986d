"""Upkeep of the lake and the streams: few files a day, nothing that anyone may need removed."""

from __future__ import annotations

import os
import shutil
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from searchflow import maintenance, streams, warehouse
from searchflow.errors import SearchFlowError
from searchflow.ingestion import accounting, worker
from searchflow.ingestion.stream_source import StreamSource
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration

DAYS_AGO = 3 * 86_400


def publish(settings: Settings, count: int) -> None:
    """`count` searches of today and as many of yesterday."""
    now = worker.utc_now()
    moments = [now - timedelta(hours=24 * (number % 2), seconds=number) for number in range(2 * count)]
    lines = [foreign.line(**foreign.search(event_id=str(uuid.uuid4()), timestamp=when.isoformat())) for when in moments]
    with streams.connect(settings) as client:
        streams.publish(client, "search", lines, batch=50)


def ingest(settings: Settings, count: int, *, trim: bool = True) -> None:
    publish(settings, count)
    with streams.connect(settings) as client, warehouse.connect(settings) as connection:
        source, result = StreamSource(client, "search", trim=trim), worker.IngestionResult()
        worker.drain(settings, connection, source, worker.Draining(worker.utc_now, result))


def files(settings: Settings) -> list[tuple[str, int]]:
    """Files of searches in use, by day."""
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(
            "SELECT regexp_extract(data_file, 'day=(\\d+)', 1) AS day, count(*) "
            "FROM ducklake_list_files('lake', 'search_events', schema => 'raw') GROUP BY ALL ORDER BY ALL"
        ).fetchall()


def on_disk(settings: Settings) -> int:
    return sum(1 for _ in Path(settings.data_path).rglob("*.parquet"))


def test_small_commits_become_one_file_a_day_and_an_old_snapshot_can_still_be_read(fresh_platform: Settings) -> None:
    for count in (200, 5, 200, 7, 200):  # large commits are files at once, small ones stay in the catalog until then
        ingest(fresh_platform, count)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        snapshot = warehouse.snapshot_id(connection)
        before = connection.execute("SELECT * FROM raw.search_events ORDER BY event_id").fetchall()
    assert [count for _, count in files(fresh_platform)] == [3, 3]
    done = maintenance.run(fresh_platform, now=worker.utc_now())
    assert done.skipped == []
    assert [count for _, count in files(fresh_platform)] == [1, 1]
    ingest(fresh_platform, 10)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        old = f"SELECT * FROM raw.search_events AT (VERSION => {snapshot}) ORDER BY event_id"
        assert connection.execute(old).fetchall() == before

    # A day later no process holds that snapshot any more.
    kept = on_disk(fresh_platform)
    later = maintenance.run(fresh_platform, now=worker.utc_now() + maintenance.KEEP + timedelta(minutes=5))
    assert later.snapshots_after == 1
    assert later.files_deleted > 0
    assert on_disk(fresh_platform) < kept
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        assert accounting.accounting(connection).holds
        assert connection.execute("SELECT count(*) FROM raw.search_events").fetchone() == (len(before) + 20,)


def test_only_old_files_that_the_catalog_never_named_are_orphans(fresh_platform: Settings) -> None:
    ingest(fresh_platform, 200)
    [used, *_] = Path(fresh_platform.data_path).rglob("*.parquet")
    abandoned, being_written = (used.with_name(f"ducklake-{uuid.uuid4()}.parquet") for _ in range(2))
    for path in (abandoned, being_written):
        shutil.copyfile(used, path)
    moment = worker.utc_now().timestamp() - DAYS_AGO
    for path in (abandoned, used):
        os.utime(path, (moment, moment))
    done = maintenance.run(fresh_platform, now=worker.utc_now())
    assert done.orphans_deleted == 1
    assert (used.exists(), abandoned.exists(), being_written.exists()) == (True, False, True)


def test_a_copy_of_a_file_in_use_is_never_deleted_as_an_orphan(fresh_platform: Settings) -> None:
    ingest(fresh_platform, 200)
    [used, *_] = Path(fresh_platform.data_path).rglob("*.parquet")
    copy = Path(fresh_platform.data_path) / "copies" / used.name
    copy.parent.mkdir()
    shutil.copyfile(used, copy)
    moment = worker.utc_now().timestamp() - DAYS_AGO
    os.utime(copy, (moment, moment))
    with pytest.raises(SearchFlowError, match=f"{used.name}.*move the copies elsewhere"):
        maintenance.run(fresh_platform, now=worker.utc_now())
    assert copy.exists()


def test_streams_are_trimmed_behind_the_committed_position_and_no_further(fresh_platform: Settings) -> None:
    ingest(fresh_platform, 100, trim=False)  # as a worker that was killed between its commit and the trim
    publish(fresh_platform, 50)
    assert worker.waiting(fresh_platform)["search"] == 6
    assert maintenance.run(fresh_platform, now=worker.utc_now()).entries_trimmed == 4
    assert worker.waiting(fresh_platform)["search"] == 2
    assert worker.ingest_stream(fresh_platform, "search").counts.stored == 100


def test_a_connection_that_was_open_before_goes_on_after_the_first_maintenance(fresh_platform: Settings) -> None:
    """DuckDB 1.5 ends a process whose connection knows a catalog table that a flush drops: `prepare` leaves none."""
    with streams.connect(fresh_platform) as client, warehouse.connect(fresh_platform) as connection:
        source, result = StreamSource(client, "search"), worker.IngestionResult()
        for _ in range(3):
            publish(fresh_platform, 5)
            worker.drain(fresh_platform, connection, source, worker.Draining(worker.utc_now, result))
            assert maintenance.run(fresh_platform, now=worker.utc_now()).skipped == []
    assert (result.commits, result.counts.stored) == (3, 30)

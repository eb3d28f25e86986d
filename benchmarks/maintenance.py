"""Upkeep under constant small commits: files a table and day after a day's maintenance runs, and what a commit costs then.

A day in small: 24 rounds of commits from a stream, each followed by the maintenance that runs once an hour. One commit
in five is too large to be inlined and leaves a file for each day it touches; every tenth event belongs to the day
before. The day keeps its number of maintenance runs, not its number of commits: what they leave behind is what counts.
"""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import redis

from benchmarks.report import Figure, Options, Report
from benchmarks.support import machine, platform
from searchflow import maintenance, streams, warehouse
from searchflow.ingestion import worker
from searchflow.ingestion.stream_source import StreamSource
from searchflow.settings import Settings

ROUNDS = 24
COMMITS = 3_000
SMALL, LARGE = 12, 400
"""The events per commit, below and above the limit for inlining."""
BOUND = 2
START = datetime(2026, 3, 2, tzinfo=UTC)

FILES = f"""
SELECT coalesce(max(files), 0) FROM (
    SELECT count(*) AS files FROM {maintenance.CATALOG_TABLES}.ducklake_data_file
    WHERE end_snapshot IS NULL GROUP BY table_id, regexp_replace(path, '[^/]*$', ''))
"""
"""The query for the most files that any table has for one day (a table that is not partitioned: at all)."""


@dataclass
class _Day:
    """The measurements of a day, one entry for each round (`commits`: a list of seconds)."""

    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    commits: list[list[float]] = field(default_factory=list)
    upkeep: list[float] = field(default_factory=list)
    skipped: int = 0
    on_disk: int = 0


def run(options: Options) -> Report:
    """Commit and tidy through a day in small."""
    a_round, rounds = max(5, options.scaled(COMMITS) // ROUNDS), min(ROUNDS, options.scaled(ROUNDS, least=3))
    day = _Day()
    with platform(options) as settings:
        for number in range(rounds):
            options.progress(f"round {number + 1} of {rounds}")
            day.commits.append(_commit(settings, START + timedelta(hours=number), a_round))
            _tidy(settings, day)
        day.on_disk = sum(1 for _ in Path(settings.data_path).rglob("*.parquet"))
    return Report("maintenance", (__doc__ or "").partition("\n")[0], _figures(options, day), _facts(day))


def _commit(settings: Settings, start: datetime, commits: int) -> list[float]:
    """Commit, and return the seconds of each commit. The connections stay open, as a follower's do."""
    seconds = []
    with streams.connect(settings) as client, warehouse.connect(settings) as connection:
        source = StreamSource(client, "search")
        for number in range(commits):
            moment = start + timedelta(seconds=number * 3600 / commits)
            _publish(client, moment, LARGE if number % 5 == 4 else SMALL)
            began = time.perf_counter()
            _drain(settings, connection, source, moment)
            seconds.append(time.perf_counter() - began)
    return seconds


def _drain(settings: Settings, connection: duckdb.DuckDBPyConnection, source: StreamSource, moment: datetime) -> None:
    result = worker.IngestionResult()
    worker.drain(settings, connection, source, worker.Draining(lambda: moment, result))
    assert result.commits == 1


def _publish(client: redis.Redis, moment: datetime, events: int) -> None:
    streams.publish(client, "search", list(_lines(moment, events)))


def _lines(moment: datetime, events: int) -> Iterator[bytes]:
    for number in range(events):
        when = moment - timedelta(seconds=number % 60, hours=24 * (number % 10 == 9))
        document = {
            "event_id": str(uuid.uuid4()),
            "event_type": "search",
            "timestamp": when.isoformat(),
            "session_id": f"s-{number % 7}",
            "query": "hotels in Lisbon",
            "results_count": number % 40,
        }
        yield json.dumps(document).encode()


def _tidy(settings: Settings, day: _Day) -> None:
    day.before.append(_most_files(settings))
    began = time.perf_counter()
    done = maintenance.run(settings, now=datetime.now(UTC))
    day.upkeep.append(time.perf_counter() - began)
    day.skipped += len(done.skipped)
    day.after.append(_most_files(settings))


def _most_files(settings: Settings) -> int:
    with warehouse.connect(settings, read_only=True) as connection:
        row = connection.execute(FILES).fetchone()
    return int(row[0]) if row else 0


def _figures(options: Options, day: _Day) -> list[Figure]:
    untidied = sum(before - after for before, after in zip(day.before, [0, *day.after], strict=False))
    met = max(day.after) <= BOUND if options.judges else None
    first, last = (statistics.median(seconds) for seconds in (day.commits[0], day.commits[-1]))
    return [
        Figure(
            "files a table and day, at most",
            max(day.after),
            "files",
            untidied,
            "the same without maintenance",
            f"at most {BOUND}",
            met,
        ),
        Figure("... just before maintenance", max(day.before), "files"),
        Figure(
            "a commit of the last round", round(last * 1000, 1), "ms", round(first * 1000, 1), "one of the first round"
        ),
        Figure("maintenance, longest", round(max(day.upkeep), 2), "s"),
    ]


def _facts(day: _Day) -> dict[str, object]:
    commits = sum(map(len, day.commits))
    return machine() | {
        "commits": commits,
        "maintenance_runs": len(day.after),
        "steps_skipped": day.skipped,
        "files_after_each": day.after,
        "files_on_disk_until_a_day_old": day.on_disk,
    }

"""Quality suites over ten million searches: seconds and memory of a whole check, and of a check of the one day that changed.

The table is `raw.search_events` with all checks of its suite (keys, ranges, references to days, known values inside the
JSON documents, volume against history). The limit is one bare scan of the columns that the checks read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from benchmarks.report import Figure, Options, Report
from benchmarks.support import Measured, in_child, machine, platform
from searchflow import warehouse
from searchflow.settings import Settings

ROWS = 10_000_000
DAYS = 100
SUITE = "raw.search_events"
SECONDS, BYTES = 30.0, 2 * 2**30
TARGET = f"under {SECONDS:.0f} s and 2 GiB for {ROWS:,} rows"
NOW = datetime(2026, 3, 2, 20, tzinfo=UTC)
SCAN = """
SELECT count(event_id), count(event_ts), count(session_id), sum(length(payload)), count(source_position)
FROM raw.search_events"""


def run(options: Options) -> Report:
    """Write the table, then check all of it, one more day, and scan it bare."""
    rows = options.scaled(ROWS, least=DAYS * 10)
    with platform(options) as settings:
        _fill(settings, rows, options)
        options.progress("checking all rows")
        whole = in_child(_check, settings, NOW, True)
        options.progress("checking one changed day")
        _add(settings, rows // DAYS, NOW + timedelta(minutes=5))
        changed = in_child(_check, settings, NOW + timedelta(minutes=10), False)
        scan = in_child(_scan, settings)
    return Report(
        "validate", (__doc__ or "").partition("\n")[0], _figures(options, whole, changed, scan), _facts(whole, changed)
    )


def _figures(options: Options, whole: Measured, changed: Measured, scan: Measured) -> list[Figure]:
    met = None
    if options.judges:
        met = whole.seconds < SECONDS * options.size and whole.peak_bytes < BYTES
    bare = "a bare scan of the columns"
    return [
        Figure("all rows", round(whole.seconds, 2), "s", round(scan.seconds, 2), bare, TARGET, met),
        Figure("peak memory, all rows", round(whole.peak_bytes / 2**20), "MiB", target=TARGET, met=met),
        Figure("one changed day", round(changed.seconds, 2), "s", round(scan.seconds, 2), bare),
        Figure("peak memory, one changed day", round(changed.peak_bytes / 2**20), "MiB"),
    ]


def _facts(whole: Measured, changed: Measured) -> dict[str, Any]:
    return machine() | {"all_rows": whole.result, "one_changed_day": changed.result}


def _check(settings: Settings, now: datetime, full: bool) -> dict[str, Any]:
    from expectations import validate

    report = validate(settings, SUITE, now=now, build_report=False, full=full)
    [suite] = report.suites
    return {
        "outcome": str(suite.outcome),
        "checks": len(suite.checks),
        "rows": suite.rows.rows_in if suite.rows else 0,
        "scope": suite.scope,
        "problems": suite.problems(),
    }


def _scan(settings: Settings) -> Any:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(SCAN).fetchone()


def _fill(settings: Settings, rows: int, options: Options) -> None:
    for day in range(DAYS):
        if day % 20 == 0:
            options.progress(f"writing day {day + 1} of {DAYS}")
        _add(settings, rows // DAYS, NOW - timedelta(days=DAYS - 1 - day))


def _add(settings: Settings, rows: int, until: datetime) -> None:
    """Add searches of the six hours before `until`, as ingestion would store and book them."""
    with warehouse.connect(settings) as connection:
        connection.execute("SET enable_progress_bar = false")
        _insert(connection, rows, until)


def _insert(connection: duckdb.DuckDBPyConnection, rows: int, until: datetime) -> None:
    stamp = until.replace(tzinfo=None)
    with warehouse.transaction(connection):
        connection.execute(
            """
            INSERT INTO raw.search_events
            SELECT uuidv7()::VARCHAR, $until::TIMESTAMP - INTERVAL 6 HOUR + to_milliseconds(number * 21600000 // $rows),
              'u-' || number % 50000, 's-' || number // 3,
              format('{{"event_type": "search", "query": "hotels in place {}", "platform": "{}", "device_type": "{}",
                "results_count": {}, "page": 1, "filters": {{"price_min": 50, "price_max": 900, "travelers": 2}},
                "geo": {{"country": "CA", "city": "Montreal", "latitude": 45.5, "longitude": -73.6}},
                "utm_source": "google", "utm_medium": "cpc", "utm_campaign": "spring-{}"}}',
                number % 500, ['web', 'ios', 'android'][1 + number % 3], ['desktop', 'mobile'][1 + number % 2],
                number % 40, number % 20),
              1, $until, 'searchflow:events:search', number || '-0', $batch
            FROM range($rows) AS numbers (number)
            """,
            {"until": stamp, "rows": rows, "batch": f"{until:%Y%m%d%H%M}"},
        )
        connection.execute(
            "INSERT INTO ops.ingestion_batches (batch_id, shard, committed_at, received, stored, duplicates, "
            "dead_letters, late, touched_days) VALUES (?, 'search', ?, ?, ?, 0, 0, 0, ?)",
            [f"{until:%Y%m%d%H%M}", stamp, rows, rows, [stamp.date()]],
        )
